"""`lens.audit` on models, pipelines and dictionaries whose faults are known."""

import json

import numpy as np
import pytest
import torch

import lens
from lens import cli
from lens.activations import models
from lens.auditing.audit import audit
from lens.auditing.context import bins, sound_from
from lens.auditing.sources import Transformers
from lens.dictionaries.dictionary import Dictionary, Info

ROPE, ABSOLUTE = "random:gemma-3-tiny", "random:gpt2-tiny"
TEXT = [" ".join(str(i * i) for i in range(n)) for n in (200, 210, 220, 230)]
SMALL = {"windows": 4, "length": 32, "text": TEXT}


@pytest.fixture(scope="module")
def model():
    return {name: models.load(name, dtype=torch.float32) for name in (ROPE, ABSOLUTE)}


def test_left_padding_is_a_trap_of_absolute_positions_alone(model):
    rope, absolute = (audit(model[name], **SMALL) for name in (ROPE, ABSOLUTE))
    for found in (rope, absolute):
        assert found.ok
        assert {found[check].status for check in ("finite", "batch", "padded right", "causal", "context")} == {"pass"}
        assert found["packed"].status == "trap"
    assert rope["padded left"].status == "pass"
    assert absolute["padded left"].status == "trap"
    assert absolute["padded left"].numbers["gap"] > 0.1
    assert "position_ids" in absolute["padded left"].text


class PadsLeft(Transformers):
    """A pipeline that pads on the left by itself."""

    def __init__(self, model, layer):
        super().__init__(model, layer)
        self.pads = "left"


class Shifted(Transformers):
    """A pipeline that puts a second BOS before everything and hands out what belongs to the token before."""

    def tokens(self, text):
        return [256, 256, *super().tokens(text)]

    def activations(self, sequences, side):
        return [x.roll(len(sequences) - 1, dims=0) for x in super().activations(sequences, side)]


class MasksNothing(Transformers):
    """A pipeline that lets tokens see the pads."""

    def activations(self, sequences, side):
        width = max(map(len, sequences))
        rows = [[7] * (width - len(ids)) + list(ids) for ids in sequences]
        return [x[width - len(ids) :] for x, ids in zip(super().activations(rows, side), sequences, strict=True)]


def test_what_the_pipeline_does_by_itself_is_a_failure(model):
    failed = {
        PadsLeft: {"padded left"},
        Shifted: {"bos", "batch", "padded right"},
        MasksNothing: {"padded right"},
    }
    for kind, expected in failed.items():
        found = audit(model[ABSOLUTE], source=kind(model[ABSOLUTE], 2), **SMALL)
        fails = {f.check for f in found.findings if f.status == "fail"}
        assert fails == expected, kind
        assert not found.ok


def test_a_later_token_that_shows_earlier_is_told(model):
    class SeesAll(Transformers):
        def activations(self, sequences, side):
            return [x + x.mean(0) for x in super().activations(sequences, side)]

    assert audit(model[ROPE], source=SeesAll(model[ROPE], 2), **SMALL)["causal"].status == "trap"


def test_windows_beyond_the_models_context_fail(tmp_path):
    config = {"model_type": "gpt2", "vocab_size": 257, "n_embd": 8, "n_layer": 2, "n_head": 1, "n_positions": 64}
    (tmp_path / "config.json").write_text(json.dumps(config | {"bos_token_id": 256, "eos_token_id": None}))
    short = models.load(f"random:{tmp_path / 'config.json'}", dtype=torch.float32)
    beyond, whole = (audit(short, windows=4, length=length, text=TEXT) for length in (65, 64))
    assert (beyond.ok, beyond["context"].status) == (False, "fail")
    assert (whole.ok, whole["context"].status) == (True, "trap")  # its last position was never trained


def dictionary(model, **info):
    """One that keeps the residual stream as it is, as two features a direction."""
    both = torch.cat([torch.eye(model.d_model), -torch.eye(model.d_model)])
    weights = {"W_enc": both.T, "W_dec": both, "b_dec": torch.zeros(model.d_model), "b_enc": torch.zeros(len(both))}
    return Dictionary(Info(d_in=model.d_model, d_sae=len(both), layer="2", **info), weights)


def test_a_dictionary_is_held_against_its_own_context_scale_and_bos(model):
    perfect = audit(model[ROPE], dictionary(model[ROPE], bos=False), **SMALL)
    assert (perfect["sound from"].status, perfect["sound from"].numbers["position"]) == ("pass", 0)
    assert perfect.ok
    assert audit(model[ROPE], dictionary(model[ROPE]), **SMALL)["bos"].status == "fail"  # this pipeline reads no BOS
    short = audit(model[ROPE], dictionary(model[ROPE], bos=False, n_positions=16), **SMALL)
    assert short["dictionary's context"].status == "fail"
    wrong = dictionary(model[ROPE], bos=False)
    wrong.W_dec.data *= 3
    assert audit(model[ROPE], wrong, **SMALL)["sound from"].status == "fail"


@pytest.mark.parametrize("start", [0, 1, 9, 28])
def test_sound_from_finds_where_the_error_settles(start):
    rng = np.random.default_rng(start)
    deviation = rng.gamma(20, size=(64, 64))
    edge = bins(64)[bins(64) >= start][0]  # errors are pooled over bins
    error = 0.1 * deviation * np.where(np.arange(64) < edge, 2, 1) * rng.uniform(0.9, 1.1, (64, 64))
    found = sound_from(error, deviation, rng)
    assert found == (edge, edge, edge)
    assert sound_from(error, deviation * np.arange(64), rng).position >= 0  # no deviation at 0: no error is allowed


def test_the_interval_of_sound_from_is_wide_where_windows_disagree():
    rng = np.random.default_rng(0)
    error = np.full((12, 64), 0.1)
    error[:4, 6:10] = 0.2  # of a third of the windows: pooled 33 % above the rest
    found = sound_from(error, np.ones((12, 64)), rng)
    assert (found.low, found.position, found.high) == (0, 10, 10)


def test_the_command_prints_a_verdict_and_answers_for_ci(capsys, tmp_path):
    own = tmp_path / "mine.py"
    own.write_text(
        "from lens.auditing.sources import Transformers\n\n\n"
        "class Late(Transformers):\n"
        "    def activations(self, sequences, side):\n"
        "        return [x.roll(len(sequences) - 1, dims=0) for x in super().activations(sequences, side)]\n"
    )
    (tmp_path / "text.txt").write_text("\n\n".join(TEXT))
    common = [ABSOLUTE, "--windows", "4", "--length", "32", "--text", str(tmp_path / "text.txt")]
    file = tmp_path / "found.json"
    assert cli.main(["audit", *common, "--json", str(file)]) == 0
    assert "positions are as expected" in capsys.readouterr().out
    assert json.loads(file.read_text())["ok"] is True
    assert cli.main(["audit", *common, "--source", f"{own}:Late", "--json", "-"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False
    assert cli.main(["audit", *common, "--source", "nnsigth"]) == 1
    assert "did you mean 'nnsight'" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [{"length": 0}, {"length": 31}, {"windows": 3}])
def test_sizes_that_cannot_be_audited_are_refused(model, wrong):
    with pytest.raises(lens.ConfigError, match=next(iter(wrong))):
        audit(model[ROPE], **{**SMALL, **wrong})


def test_it_is_a_public_name():
    assert lens.audit is audit
