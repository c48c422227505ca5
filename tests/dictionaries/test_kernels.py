"""The kernels of the GPU in Triton's interpreter, beside autograd of the plain definition; where Triton is installed.

TRITON_INTERPRET=1 python -m pytest tests/dictionaries/test_kernels.py
"""

import os

import pytest
import torch

if not os.environ.get("TRITON_INTERPRET"):
    pytest.skip("needs TRITON_INTERPRET=1 and Triton", allow_module_level=True)
kernels = pytest.importorskip("lens.dictionaries.kernels", exc_type=ImportError)


@pytest.mark.parametrize("sizes", [[3, 0, 2, 1], [0, 0], [4]])
@pytest.mark.parametrize("d", [5, 512, 700])  # within a block, a block, more than one
def test_sums_of_rows_and_their_gradients_are_those_of_the_definition(sizes, d):
    generator = torch.Generator().manual_seed(0)
    count, n = sum(sizes), 6
    values = torch.randn(count, generator=generator, requires_grad=True)
    table = torch.randn(n, d, generator=generator, requires_grad=True)
    index = torch.randint(n - 1, (count,), generator=generator)  # one row of the table is in no sum
    weight = torch.randn(len(sizes), d, generator=generator)

    bag = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    matrix = torch.zeros(len(sizes), n).index_put((bag, index), values, accumulate=True)
    expected = matrix @ table
    found = kernels.bags(values, index, torch.tensor(sizes), table)
    torch.testing.assert_close(found, expected)
    for got, wanted in zip(
        torch.autograd.grad((found * weight).sum(), [values, table]),
        torch.autograd.grad((expected * weight).sum(), [values, table]),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted)
