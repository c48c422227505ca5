"""Modules of other people: right numbers whatever they do to what they are given, or a refusal that names the cause."""

import threading
from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

from lens.dictionaries.wrapped import Wrapped, own_copy
from lens.errors import DictionaryError
from lens.measure.profiles import position_labelling, profile
from lens.measure.reconstruction import reconstruct

D = 3
X = torch.randn(4, 8, D, generator=torch.Generator().manual_seed(0))
B = torch.tensor([0.5, -1.0, 2.0])


@dataclass
class Module:
    """Of two functions."""

    encode: object
    decode: object = field(default=lambda f: f)


def features(x):
    return torch.relu(x - B)


def in_place(x):
    x -= B
    return x.relu_()


def view(x):
    x.sub_(B).relu_()
    return x.view(-1).view(x.shape)


def added_in_place(f):
    f += B
    return f


def sums(module, windows=X):
    return reconstruct(Wrapped(module, D), windows.clone(), torch.zeros(len(windows), dtype=torch.long), 1, 2.0)


@pytest.mark.parametrize("encode", [in_place, view])
@pytest.mark.parametrize("decode", [added_in_place, lambda f: f.add_(B).view_as(f)])
def test_what_it_does_in_place_changes_no_measure(encode, decode):
    by_hand = 4 * (features(X) + B - X).square().sum(-1).sum(0)
    found = sums(Module(encode, decode))
    torch.testing.assert_close(torch.as_tensor(found.sq_error[0]), by_hand.double())
    assert found.active.tolist() == (features(X) > 0).sum((0, 2)).tolist()
    assert found.l1.tolist() == pytest.approx(features(X).sum((0, 2)).tolist())
    plain = sums(Module(features, lambda f: f + B))
    assert found.per_token == plain.per_token
    x = X.clone()
    Wrapped(Module(encode, decode), D)(x)
    assert torch.equal(x, X)


def test_what_it_keeps_for_itself_is_left_as_it_is():
    """Measures scale and take sizes in place."""
    code, mean = torch.full((4, 8, D), -2.0), B.expand(4, 8, D).clone()
    keeps = Module(lambda x: code[: len(x), : x.shape[1]], lambda f: mean[: len(f), : f.shape[1]])
    found = sums(keeps)
    torch.testing.assert_close(torch.as_tensor(found.sq_error[0]), 4 * (B - X).square().sum(-1).sum(0).double())
    assert (code == -2).all() and (mean == B).all()


def absolute_top_1(x):
    size = x.abs()
    return x * (size == size.amax(-1, keepdim=True))


def test_signed_features_count_by_size():
    """One of each vector, whatever its sign."""
    code = absolute_top_1(X)
    assert (code < 0).any()
    found = sums(Module(absolute_top_1))
    assert found.active.tolist() == [len(X)] * 8
    assert found.firings.tolist() == (code[:, 1:] != 0).sum((0, 1)).tolist()
    assert found.l1.tolist() == pytest.approx(code.abs().sum((0, 2)).tolist())
    measures = {
        name: found.per_token[name] / (len(X) * 7) for name in ("hoyer", "gini", "treves_rolls", "effective_l0")
    }
    assert measures == pytest.approx({"hoyer": 1, "gini": 1 - 1 / D, "treves_rolls": 1 - 1 / D, "effective_l0": 1})
    a, b = (
        profile({0: Wrapped(Module(encode), D)}, X, torch.zeros(4, dtype=torch.long), 1,
                {"1": position_labelling(4, 8)}, permutations=40, lags=2)[0]
        for encode in (absolute_top_1, lambda x: absolute_top_1(x).abs())
    )  # fmt: skip
    for name in ("firings_BTK", "permuted_firings_RTK", "runs_K", "expected_runs_K"):
        assert (getattr(a, name) == getattr(b, name)).all(), name
    assert (a.observed["1"] == b.observed["1"]).all() and (a.null["1"] == b.null["1"]).all()


class Dropping(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop, self.norm = nn.Dropout(0.5), nn.BatchNorm1d(D)
        self.norm.running_mean.copy_(B)

    def encode(self, x):
        return self.drop(torch.relu(self.norm(x.flatten(0, -2)).view_as(x)))

    def decode(self, f):
        return self.drop(f)


def test_a_module_is_measured_in_evaluation_mode_and_is_in_its_own_afterwards():
    theirs = Dropping()
    theirs.drop.eval()  # its parts may differ
    before = {name: value.clone() for name, value in theirs.state_dict().items()}
    expected = torch.relu((X - B) / (1 + theirs.norm.eps) ** 0.5)
    torch.testing.assert_close(Wrapped(theirs, D)(X), expected)
    assert [m.training for m in theirs.modules()] == [True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in theirs.state_dict().items())
    theirs.train()
    torch.testing.assert_close(Wrapped(theirs, D)(X), expected)

    def fails(x):
        raise RuntimeError("no")

    wrapped = Wrapped(theirs, D)
    theirs.encode = fails
    with pytest.raises(RuntimeError):
        wrapped(X)
    assert theirs.training and theirs.drop.training


def test_another_precision_comes_back_in_that_of_the_activations():
    half = Module(lambda x: features(x).half(), lambda f: f @ (2 * torch.eye(D).half()))
    wrapped = Wrapped(half, D)
    codes = wrapped.encode(X)
    assert codes.values.dtype == wrapped.decode(codes).dtype == torch.float32
    torch.testing.assert_close(wrapped(X), 2 * features(X).half().float())


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Module(lambda x: x / x.norm()), None),  # of a zero vector alone it makes NaN
        (Module(lambda x: x.where(x > 0, torch.nan)), "Module.encode answers NaN or infinity in 2 of 6 places"),
        (Module(features, lambda f: f / 0), "Module.decode answers NaN or infinity in 6 of 6 places"),
    ],
)
def test_numbers_that_are_not_finite_are_refused_where_they_arise(module, message):
    wrapped, x = Wrapped(module, D), torch.tensor([[[1.0, -1, 1], [1, -1, 1]]])
    if message is None:
        wrapped(x)
    else:
        with pytest.raises(DictionaryError, match=message):
            wrapped(x)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Module(lambda x: (x, x)), "Module.encode answers a tuple, a tensor"),
        (Module(lambda x: [x]), "Module.encode answers a list"),
        (Module(lambda x: {"f": x}), "Module.encode answers a dict"),
        (Module(lambda x: x.numpy()), "Module.encode answers a ndarray"),
        (Module(lambda x: x > 0), "Module.encode answers torch.bool"),
        (Module(lambda x: x.long()), "Module.encode answers torch.int64"),
        (Module(lambda x: x.to(torch.complex64)), "Module.encode answers torch.complex64"),
        (Module(lambda x: x.to_sparse()), "Module.encode answers torch.float32, torch.sparse_coo"),
        (Module(lambda x: x[0]), r"Module.encode makes \(2, 3\) of \(1, 2, 3\); expected \(1, 2, 'd_sae'\)"),
        (Module(lambda x: x.mean(1, keepdim=True)), r"Module.encode makes \(1, 1, 3\) of \(1, 2, 3\)"),
        (
            Module(features, lambda f: f[..., :2]),
            r"Module.decode makes \(1, 2, 2\) of \(1, 2, 3\); expected \(1, 2, 3\)",
        ),
        (Module(features, lambda f: (f, f)), "Module.decode answers a tuple"),
        (Module(lambda x, positions: x), "Module does not encode .*positions"),
        (Module(lambda x: {}["k"]), "Module does not encode .*KeyError"),
        (nn.Linear(D, D), "Linear is not a dictionary"),
    ],
)
def test_what_answers_something_else_is_refused_by_name(module, message):
    with pytest.raises(DictionaryError, match=message):
        Wrapped(module, D)


def test_a_width_that_changes_is_refused():
    wrapped = Wrapped(Module(lambda x: x if len(x) == 1 else x[..., :2]), D)
    with pytest.raises(DictionaryError, match=r"Module.encode makes \(4, 8, 2\) of \(4, 8, 3\); expected \(4, 8, 3\)"):
        wrapped.encode(X)


class Counts:
    """Multiplies by how often it was asked."""

    def __init__(self, function):
        self.asked, self.function = 0, function

    def __call__(self, x):
        self.asked += 1
        return self.function(x) * self.asked


def dropped(x):
    return nn.functional.dropout(features(x), 0.5)


@pytest.mark.parametrize(
    "module",
    [
        Module(Counts(features)), Module(dropped), Module(features, Counts(lambda f: f)), Module(features, dropped),
        Module(features, lambda f: f + torch.randn(D)),
    ],
)  # fmt: skip
def test_an_answer_that_differs_from_time_to_time_is_refused(module):
    with pytest.raises(DictionaryError, match=r"code answers something else when it is given the same again"):
        sums(module)


def largest_of_the_batch(x):
    size = features(x)
    return size * (size >= size.flatten().topk(5).values[-1])


@pytest.mark.parametrize("module", [Module(largest_of_the_batch), Module(features, lambda f: f + f.mean(0))])
def test_answers_that_depend_on_the_batch_are_pointed_out(module, recwarn):
    with pytest.warns(UserWarning, match="something else for a window where others are beside it.*learned threshold"):
        sums(module)
    recwarn.clear()
    sums(Module(features))
    assert not recwarn.list


class Holds(nn.Module):
    """What can't be copied, a tensor that was computed from a parameter, and a list of both."""

    def __init__(self):
        super().__init__()
        self.W = nn.Parameter(torch.eye(D))
        self.lock, self.twice = threading.Lock(), self.W * 2
        self.both = [self.twice, self.lock]

    def encode(self, x):
        with self.lock:
            return torch.relu(x @ self.twice)

    def decode(self, f):
        return f @ self.W.T


def test_a_module_that_cannot_be_copied_whole_is_copied_as_far_as_it_can_be():
    held = Holds()
    copied = own_copy(held)
    assert copied.lock is held.lock and copied.W is not held.W
    torch.testing.assert_close(copied.encode(X), held.encode(X))
    copied.double().train(False)
    assert held.training and held.W.dtype == torch.float32
