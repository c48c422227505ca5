import numpy as np
import pytest

from lens.explorer.pack import Part, pack, plain, unpack
from lens.profiling.reading import LEVELS, quantise


def test_what_goes_in_comes_out_in_the_smallest_type():
    arrays = {
        "bytes": np.array([[0, 255, 3]]), "words": np.array([1, 256]), "signed": np.array([-1, 70000]),
        "real": np.array([0.5, -2.0]), "none": np.zeros((0, 3), int),
    }  # fmt: skip
    header, found = (part := unpack(pack(Part({"text": "a\n</script>é"}, arrays)))).header, part.arrays
    assert header == {"text": "a\n</script>é"} and pack(part) == pack(Part(header, arrays))
    assert {name: x.dtype.str for name, x in found.items()} == {
        "bytes": "|u1", "words": "<u2", "signed": "<i4", "real": "<f4", "none": "|u1",
    }  # fmt: skip
    for name, values in arrays.items():
        assert (found[name] == values).all(), name


def test_packing_is_repeatable_and_safe_inside_a_script_tag():
    part = Part({"text": "</script>"}, {"x": np.arange(1000)})
    assert pack(part) == pack(part)
    random = np.random.default_rng(0)
    text = "".join(pack(Part({}, {"x": random.integers(0, 256, 999)})) for _ in range(20))
    assert "<" not in text and "," in text and text.isascii() and text.isprintable()
    with pytest.raises(ValueError):
        pack(Part({"value": float("nan")}))


def test_quantised_activations_keep_zero_apart():
    values = np.array([0.0, 1e-9, 0.5, 1.0])
    assert quantise(values, np.array(1.0)).tolist() == [0, 1, round(LEVELS / 2), LEVELS]
    assert quantise(np.zeros(2), np.array(0.0)).tolist() == [0, 0]


def test_plain_numbers():
    assert plain(np.array([0.1234567, np.nan, np.inf])) == [0.123457, None, None]
    assert plain(np.array([True, False])) == [1, 0]
