"""Files that say or unpack to more than they hold are refused before any memory is taken."""

import io
import resource
import zipfile

import numpy as np
import pytest
import torch

from lens.dictionaries.dictionary import Dictionary, Info
from lens.dictionaries.load import load
from lens.errors import DictionaryError
from tests.dictionaries.folders import LINEAR, WEIGHTS, dictionary_learning, gemma_scope, saelens


@pytest.fixture
def little_memory():
    """4 GB of address space more than there is in use: what takes more fails here, and not on a smaller machine."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 4 * 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


LARGE = 100_000  # squared, in fp32: 40 GB


@pytest.mark.parametrize(
    "weight",
    [
        torch.zeros(1).expand(LARGE, LARGE),
        torch.sparse_coo_tensor(torch.zeros(2, 0), torch.zeros(0), (LARGE, LARGE), check_invariants=True),
        torch.zeros(LARGE, LARGE, device="meta"),
        torch.zeros(3, 2, dtype=torch.long),
        torch.zeros(3, 2, dtype=torch.complex64),
    ],
    ids=["expanded", "sparse", "without storage", "integers", "complex"],
)
def test_a_tensor_that_does_not_hold_its_numbers_is_refused_unread(tmp_path, little_memory, weight):
    state = {**LINEAR, "encoder.weight": weight, "bias": torch.zeros(2)}
    n = weight.shape[0]
    folder = dictionary_learning(tmp_path / "d", "AutoEncoder", state, activation_dim=n, dict_size=n)
    with pytest.raises(DictionaryError, match="encoder.weight .* no dense tensor|not plain tensors"):
        load(folder)


def test_sizes_that_weights_do_not_have_are_refused_before_anything_of_them_is_made(tmp_path, little_memory):
    huge = {"activation_dim": 2, "dict_size": 2**31 - 1}
    state = {**WEIGHTS, "threshold": torch.tensor(0.5)}
    with pytest.raises(DictionaryError, match=r"d_sae 2147483647\) says \(2, 2147483647\)"):
        load(dictionary_learning(tmp_path / "d", "MatryoshkaBatchTopKSAE", state, **huge))
    with pytest.raises(DictionaryError, match=r"d_sae 2147483647\) says \(2, 2147483647\)"):
        load(saelens(tmp_path / "s", d_sae=2**31 - 1))
    info = Info(2, 3, 2**24, position="mask")
    with pytest.raises(DictionaryError, match=r"pos_logits has shape \(4, 3\).* says \(16777216, 3\)"):
        Dictionary(info, {**WEIGHTS, "pos_logits": torch.zeros(4, 3)})


def npz(path, **members: bytes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


def header(*shape: int) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return out.getvalue()


def test_an_archive_that_unpacks_to_gigabytes_is_refused_unread(tmp_path, little_memory):
    good = gemma_scope(tmp_path / "good") / "params.npz"
    arrays = {name: header(*v.shape) + v.astype("<f4").tobytes() for name, v in np.load(good).items()}
    npz(tmp_path / "named.npz", **arrays, extra=bytes(50_000_000))
    npz(tmp_path / "large.npz", **{**arrays, "W_enc": header(2, 6_000_000) + bytes(48_000_000)})
    npz(tmp_path / "header.npz", **{**arrays, "W_enc": header(10**9, 10**9) + bytes(64)})
    for name, message in (
        ("named", "named.npz unpacks to 0.1 GB from 0.0 MB|holds .*'extra'"),
        ("large", "large.npz unpacks to 0.0 GB from 0.0 MB"),
        ("header", "header.npz is not an archive of plain arrays: .*get it again"),
    ):
        with pytest.raises(DictionaryError, match=message):
            load(tmp_path / f"{name}.npz")
    folder = dictionary_learning(tmp_path / "d", "AutoEncoder", {**LINEAR, "bias": torch.zeros(10**7)})
    with zipfile.ZipFile(folder / "ae.pt") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(folder / "ae.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(DictionaryError, match="ae.pt unpacks to"):
        load(folder)
