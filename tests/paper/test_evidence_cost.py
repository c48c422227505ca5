"""C21, C22, C30: cost from timings of known slope and overhead."""

import numpy as np
import pytest

from benchmarks.cost import Cost
from lens import checkout
from tests.paper.planted import judged, made, reading

LENGTHS = (32, 64, 128, 256, 512)
ANY_STUDY = made({})


@pytest.fixture
def timed(record):
    """Write timings: seconds that grow as T^slope, and `overhead` more with masks; a little different each time."""

    def write(slope=1.0, overhead=0.05, standard_slope=None, repetitions=5, change=lambda times: None):
        rng, seconds = np.random.default_rng(0), {}
        for variant, power, factor in (
            ("temporallens", slope, 1 + overhead), ("standard", slope if standard_slope is None else standard_slope, 1),
        ):  # fmt: skip
            noise = 0.002 * rng.standard_normal((len(LENGTHS), repetitions))
            noise -= noise.mean(axis=1, keepdims=True)
            grown = {T: 1e-3 * factor * (T / 32) ** power for T in LENGTHS}
            seconds[variant] = {str(T): list(grown[T] * np.exp(row)) for T, row in zip(LENGTHS, noise, strict=True)}
        parameters = {str(T): {"masks": T * 640, "all": 820_480 + T * 640} for T in LENGTHS}
        times = {"lengths": list(LENGTHS), "seconds": seconds, "machine": "a machine", "parameters": parameters}
        change(times)
        record("cost", times)

    return write


@pytest.mark.parametrize(
    ("slope", "word"), [(1.0, "reproduced"), (0.7, "not reproduced"), (2.0, "not reproduced"), (0.0, "not reproduced")]
)
def test_cost_by_length(timed, slope, word):
    timed(slope)
    entry = judged(ANY_STUDY, "C21")
    assert entry["verdict"] == word
    first = entry["readings"][0]
    assert first["estimate"] == pytest.approx(slope, abs=1e-6)
    assert first["detail"] == "interval over 5 repetitions on a machine"


def test_what_the_benchmark_writes_is_what_is_read(record):
    found = Cost({v: {T: [0.001 * T, 0.0011 * T] for T in LENGTHS} for v in ("temporallens", "standard")})
    record("cost", {"machine": "a machine", **found.as_json()})
    assert judged(ANY_STUDY, "C21")["readings"][0]["estimate"] == pytest.approx(1)
    assert judged(ANY_STUDY, "C22")["readings"][0]["estimate"] == pytest.approx(0, abs=1e-9)
    share = reading(judged(ANY_STUDY, "C21"), "masks' share of all parameters, T = 128", "context")
    assert share["estimate"] == pytest.approx(81_920 / 902_400, rel=1e-5)  # 2 d k + d + k + T k, d = k = 640


def test_linear_cost_of_the_standard_dictionary_took_the_attribution_until_it_was_amended(timed):
    timed(1.0)
    entry = judged(ANY_STUDY, "C21")
    assert (entry["attributable"], entry["before"]["attributable"]) == ("not applicable", "no")
    timed(1.0, change=lambda times: times["seconds"].pop("standard"))
    entry = judged(ANY_STUDY, "C21")
    assert (entry["verdict"], entry["before"]["attributable"]) == ("reproduced", "not assessed")


@pytest.mark.parametrize(
    ("overhead", "word"), [(0.05, "reproduced"), (0.2, "partly"), (0.8, "not reproduced"), (-0.1, "reproduced")]
)
def test_overhead_at_128_positions(timed, overhead, word):
    timed(overhead=overhead)
    entry = judged(ANY_STUDY, "C22")
    assert entry["verdict"] == word
    assert entry["readings"][0]["estimate"] == pytest.approx(overhead, abs=1e-6)


def test_cited_efficiency_is_never_judged(timed):
    entry = judged(ANY_STUDY, "C30")  # nothing timed
    assert (entry["verdict"], entry["readings"][0]["detail"]) == (
        "not testable here",
        "results/benchmarks/cost.json is not there: run `make bench`",
    )
    timed()
    entry = judged(ANY_STUDY, "C30")
    assert entry["verdict"] == "not testable here"
    assert entry["readings"][0]["estimate"] == pytest.approx(0.05, abs=1e-6)


def test_timings_that_are_missing_are_named(timed):
    for claim in ("C21", "C22"):
        entry = judged(ANY_STUDY, claim)
        assert (entry["verdict"], entry["reason"]) == (
            "not measured in this study",
            "results/benchmarks/cost.json is not there: run `make bench`",
        )
        timed(change=lambda times: times["seconds"]["temporallens"].pop("128"))
        assert judged(ANY_STUDY, claim)["reason"].startswith("no timings of 'temporallens' at 128 positions")
        (checkout.root() / "results" / "benchmarks" / "cost.json").unlink()
    timed(change=lambda times: times.update(lengths=[128]))
    assert judged(ANY_STUDY, "C21")["reason"] == "timings at 1 length(s): a slope needs two"


def test_one_repetition_is_inconclusive(timed):
    timed(repetitions=1)
    for claim in ("C21", "C22"):
        assert judged(ANY_STUDY, claim)["verdict"] == "inconclusive"
