import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from lens.study import training
from lens.study.params import Study
from lens.training.fit import fit
from lens.training.run import Run

MODEL = "random:gemma-3-tiny"
TEXT = ["the quick brown fox jumps over the lazy dog\n" * 60]
OPTIONS = {"windows": 20, "length": 16, "expansion": 2}


def read(folder) -> dict[tuple[str, int], float]:
    """Every metric and step of a folder of event files, read with TensorBoard itself."""
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = event_accumulator.EventAccumulator(str(folder))
    events.Reload()
    found = [((tag, event.step), event.value) for tag in events.Tags()["scalars"] for event in events.Scalars(tag)]
    assert len(dict(found)) == len(found)  # no step twice
    return dict(found)


def history(folder) -> dict[tuple[str, int], float]:
    [path] = (folder / "pool").glob("trained-*/history.csv")
    table = pd.read_csv(path)
    return dict(zip(zip(table["metric"], table["step"], strict=True), table["value"], strict=True))


def test_events_are_the_history(tmp_path):
    pytest.importorskip("tensorboard")
    fit(MODEL, 1, TEXT, tmp_path, steps=45, log_dir=tmp_path / "events", **OPTIONS)
    found = read(tmp_path / "events" / "relu-mask-seed0")
    assert {step for _, step in found} == {0, 20, 40, 44}
    assert found == pytest.approx(history(tmp_path), rel=1e-6)


def test_events_of_steps_that_are_taken_again_are_not_there_twice(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    step = Run.step

    def interrupted(run, *arguments, **options):
        if run.steps_done == 150:
            raise KeyboardInterrupt
        step(run, *arguments, **options)

    asked = {"steps": 165, "log_dir": tmp_path / "events", **OPTIONS}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Run, "step", interrupted)
        fit(MODEL, 1, TEXT, tmp_path, **asked)
    assert max(step for _, step in read(tmp_path / "events" / "relu-mask-seed0")) == 140
    fit(MODEL, 1, TEXT, tmp_path, **asked)  # goes on from step 100
    found = read(tmp_path / "events" / "relu-mask-seed0")
    assert found == pytest.approx(history(tmp_path), rel=1e-6)


def test_without_tensorboard_training_is_not_started(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ModuleNotFoundError, match="pip install tensorboard"):
        fit(MODEL, 1, TEXT, tmp_path / "mine", steps=4, log_dir=tmp_path / "events", **OPTIONS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("folder", ["", "events"])
def test_of_a_study_they_are_written_where_the_environment_says(folder, monkeypatch):
    asked = {}
    monkeypatch.setattr(training, "train_layer", lambda *args, **options: asked.update(options))
    monkeypatch.setenv(training.LOG_DIR, folder)
    stored = SimpleNamespace(activations=None, manifest={"sha256": {"train.safetensors": ""}})
    training.train(Study.load("smoke"), SimpleNamespace(layer=1, train=stored))
    assert asked["log_dir"] == (Path("events/smoke/dictionaries/layer_1") if folder else None)
