"""Whose activations of an older pool are taken over: those of a model whose name says all that decides them."""

from dataclasses import replace

import pytest

from lens import checkout
from lens.activations import models
from lens.study import extraction
from lens.study.params import Study


@pytest.mark.parametrize(
    ("name", "revision", "fixed"),
    [
        ("random:gemma-3-tiny", "", True),
        ("gemma-3-270m", "", True),
        ("someone/a-model", "0123456789abcdef0123456789abcdef01234567", True),
        ("someone/a-model", "unknown", False),
        ("a/folder", 64 * "0", False),
        ("random:a/config.json", 64 * "0", False),
    ],
)
def test_a_name_that_stands_for_one_model_is_told_from_a_folder(monkeypatch, name, revision, fixed):
    tiny = models.load("random:gemma-3-tiny")
    monkeypatch.setattr(models, "load", lambda _: replace(tiny, name=name, revision=revision))
    monkeypatch.setattr(extraction, "windows_of", lambda *_: {})
    asked = {}
    monkeypatch.setattr(extraction, "extract", lambda *_, **options: asked.update(options))
    extraction.extract_study(replace(Study.load(str(checkout.root() / "studies/smoke/params.yaml")), model=name))
    assert asked["as_named"] is fixed
