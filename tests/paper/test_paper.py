"""The paper: built from committed tables alone, and stopped where a sentence or a number no longer holds."""

import dataclasses
import functools
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from lens import checkout, files
from lens.errors import ConfigError
from lens.study import params as config
from lens.study import tables
from lens.study.params import Study
from paper import across, claims, operating, paper_data, typeset
from paper.evidence import difficulty, early_late, position
from paper.paper_data import PaperError, contents
from tests.paper import synthetic


def full_in(folder: Path) -> Study:
    """The study `full` with its committed tables and claims in another folder."""
    study = Study.load("full")
    folder.mkdir(exist_ok=True)
    shutil.copy(study.results / "claims.json", folder)
    (folder / "tables").symlink_to(study.results / "tables")
    return dataclasses.replace(study, out=folder)


read = tables.read
of_full = functools.cache(lambda name: read(Study.load("full"), name))


@pytest.fixture
def full(tmp_path, monkeypatch) -> Study:
    """`full` in a folder of its own, its tables read once, and a paper without pictures, so that it takes a second."""
    blank = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'

    def draw(_, folder):
        names = re.findall(r'#plot\("(\w+)"\)', (typeset.SOURCE / "paper.typ").read_text(encoding="utf-8"))
        folder.mkdir()
        for name in names:
            (folder / f"{name}.svg").write_text(blank)
        return {name: {"title": "A figure", "caption": "What it shows.", "alt": "numbers"} for name in names}

    monkeypatch.setattr(typeset, "draw", draw)
    monkeypatch.setattr(
        tables, "read", lambda study, name: of_full(name) if study.name == "full" else read(study, name)
    )
    return full_in(tmp_path / "full")


def edit(study: Study, change) -> None:
    """Change the claims of a study, by id."""
    rewrite(study, lambda document: change({claim["id"]: claim for claim in document["claims"]}))


def rewrite(study: Study, change) -> None:
    path = study.results / "claims.json"
    document = files.read_json(path)
    change(document)
    path.write_text(json.dumps(document))


def test_two_builds_from_two_folders_give_the_same_tagged_pdf(full, tmp_path):
    """That figures have the same bytes is tested with them."""
    first = typeset.build(full).read_bytes()
    assert first.startswith(b"%PDF-") and b"pdfuaid" in first and b"/MarkInfo" in first
    other = full_in(tmp_path / "two")
    (other.results / "runs").mkdir()  # on a slower machine
    (other.results / "runs" / "01_extract.json").write_text(json.dumps({"wall_seconds": 1e6, "peak_memory_mib": 1e6}))
    assert typeset.build(other).read_bytes() == first
    assert sorted(path.name for path in other.results.iterdir()) == ["claims.json", "paper.pdf", "runs", "tables"]


def test_the_paper_of_another_study_is_that_of_full_with_an_appendix(full, tmp_path, monkeypatch):
    alone = typeset.build(full).read_bytes()
    quick = dataclasses.replace(Study.load("quick"), out=tmp_path / "quick")
    quick.results.mkdir()
    shutil.copy(Study.load("quick").results / "claims.json", quick.results)
    monkeypatch.setattr(typeset.Study, "load", lambda name: full)
    (full.results / "paper.pdf").unlink()
    path = typeset.build(quick)
    assert path == quick.results / "paper.pdf" and len(path.read_bytes()) > len(alone)
    assert not (full.results / "paper.pdf").exists()  # only a build of `full` writes that
    edit(quick, lambda by_id: by_id["C20"]["readings"][0].update(estimate=0.123456))
    before, now = path.read_bytes(), typeset.build(quick).read_bytes()
    assert now != before and contents(full, quick)["claims"] == contents(full)["claims"]


def test_what_a_dictionary_has_to_beat_stands_below_them_once_it_is_measured(full, monkeypatch):
    """Of the tables of today the caption says that it is awaited; a layer without it keeps the rows away."""
    awaited, read = typeset.build(full).read_bytes(), paper_data._summary

    def with_rows(layers):
        metrics = {name: {"mean": 0.5, "low": None, "high": None} for name in ("fvu", "rank")}
        more = dict.fromkeys(("pca_64", "position_mean"), metrics)
        return lambda study: {k: v | (more if k in layers else {}) for k, v in read(study).items()}

    monkeypatch.setattr(paper_data, "_summary", with_rows({"3", "8"}))
    assert typeset.build(full).read_bytes() == awaited
    monkeypatch.setattr(paper_data, "_summary", with_rows({"3", "8", "13"}))
    assert typeset.build(full).read_bytes() != awaited


@pytest.mark.parametrize(
    ("claim", "change", "said"),
    [
        (
            "C20",
            {"verdict": "partly"},
            'C20: the text expects the verdict "depends on the layer", found "partly" in study full',
        ),
        (
            "C12",
            {"verdict": "reproduced"},
            'C12: the text expects the verdict "present without the method", found "reproduced"',
        ),
        ("C13", {"low": 0.01}, "C13: the text expects mean error around 0, found −0.0038"),
        ("C22", {"low": -0.01}, "C22: the text expects wall time above 0, found 0.059"),
    ],
)
def test_a_sentence_that_is_no_longer_true_stops_the_build(full, claim, change, said):
    def edited(by_id):
        by_id[claim].update(change)
        by_id[claim]["readings"][0].update(change)

    edit(full, edited)
    with pytest.raises(PaperError, match=re.escape(said)):
        typeset.build(full)
    assert not (full.results / "paper.pdf").exists() and not list(full.results.glob("*.partial"))


def test_a_comparison_of_two_numbers_is_guarded(full):
    def swap(by_id):
        names = (f"R2 from the method's {source}, from position 8" for source in ("features", "error"))
        one, other = (next(r for r in by_id["C33"]["context"] if r["name"] == name) for name in names)
        one["estimate"], other["estimate"] = other["estimate"], one["estimate"]

    edit(full, swap)
    with pytest.raises(PaperError, match="C33: the text expects R2 from the method's error, .* more than 0.61"):
        typeset.build(full)


def test_every_claim_that_the_text_gives_a_verdict_of_is_guarded():
    source = (typeset.SOURCE / "paper.typ").read_text(encoding="utf-8")
    told = set(re.findall(r'#tag\("(\w+)"\)', source))
    assert told <= set(re.findall(r'#expect\("(\w+)"', source)) and len(told) > 20


def test_a_claim_or_reading_that_is_missing_stops_the_build_and_is_named(full):
    edit(full, lambda by_id: by_id["C20"]["readings"].pop(2))
    with pytest.raises(PaperError, match="C20: nothing measured of .*mask thresholded"):
        typeset.build(full)
    edit(full, lambda by_id: by_id["C01"].update(id="C99"))
    with pytest.raises(PaperError, match=r"claims\.C01"):
        typeset.build(full)


def test_claims_of_another_study_are_refused(full):
    path = full.results / "claims.json"
    rewrite(full, lambda document: document.update(model="smollm2-135m"))
    with pytest.raises(ConfigError, match="smollm2-135m"):
        typeset.build(full)
    path.unlink()
    with pytest.raises(ConfigError, match=r"claims\.json is missing.*run the pipeline of study .full"):
        typeset.build(full)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study at one layer with made-up tables, judged by the real code."""
    study = dataclasses.replace(
        Study.load("quick"), layers=(8,), main_layers=(8,), seeds=(0, 1, 2), out=tmp_path_factory.mktemp("quick"),
        ablations=config.Ablations((8,), ("uniform_weights", "frozen_masks")),
    )  # fmt: skip
    size = {"seeds": study.seeds, "steps": 600, "n_positions": 128, "n_features": 8, "layers": ("8",)}
    main, parts = (
        synthetic.tables(variants=variants, **size) for variants in (study.variants, study.ablations.variants)
    )
    synthetic.write(study, {name: synthetic.join(table, parts[name]) for name, table in main.items()})
    with pytest.MonkeyPatch.context() as patch:
        for module in (early_late, difficulty, position, operating):
            patch.setattr(module, "DRAWS", 20)
        claims.build(study)
    return study


@pytest.fixture
def study(made, tmp_path, monkeypatch) -> Study:
    """The made-up study, in a checkout without other studies."""
    monkeypatch.setattr(checkout, "root", lambda: tmp_path)
    return made


def test_what_the_paper_may_ask_for_is_what_the_study_measured(study):
    content = contents(study)
    table = tables.read(study, "summary").query(
        "layer == '8' and variant == 'standard' and metric == 'fvu' and positions == 'text'"
    )
    found = content["summary"]["8"]["standard"]["fvu"]
    assert found["mean"] == pytest.approx(table["value"].mean())
    assert found["low"] < found["mean"] < found["high"]
    about = content["study"]
    assert about["layers"] == [{"name": "8", "depth": 0.5}] and about["batch_tokens"] == 16 * 127
    assert about["runs"] == 3 * 3 + 2 * 3  # variants and seeds, ablations and their seeds
    assert content["recipe"]["l1_coef"] == 0.04
    assert about["stand_in"] and about["model"]["name"] == "Gemma-3-270M"
    json.dumps(content, allow_nan=False)


def test_other_models_stand_beside_the_study_once_there_are_any(study):
    own = across.rows(study)
    others = [
        own.assign(study="minilm", model="all-minilm-l6-v2"),
        own.assign(study="random-gemma", model="random:gemma-3-270m", estimate=float("nan")),
        own.assign(estimate=7.0),  # this study as it was when the table was written
    ]
    across.path().parent.mkdir()
    pd.concat(others).to_csv(across.path(), index=False)
    entries = contents(study)["across"]
    assert [(e["study"], e["random"], e["positions"]) for e in entries] == [
        ("quick", False, "inferred"), ("minilm", False, "learned"), ("random-gemma", True, "inferred"),
    ]  # fmt: skip
    assert entries[1]["readings"] == entries[0]["readings"] and entries[0]["readings"]["positional"]["estimate"] != 7.0
    assert entries[2]["readings"]["positional"]["estimate"] is None


def test_what_calibration_found_is_read_from_its_tables(study):
    found = contents(study)["calibration"]
    assert found["flat_called_positional"] == {"shifts": 0.05, "free": 0.4}
    assert found["lowest_power"] == 0.9  # flat features are not among those that should be found
    assert [row["planted"] for row in found["widths"]] == [16, 40, 64]
    trend = {"first": 16, "seeds": 3}
    assert found["trend"] == [{**trend, "last": 20, "rate": 0.3}, {**trend, "last": 64, "rate": 1.0}]
    steps = [row["steps"] for row in found["training"]]
    assert steps == [300, 1000, 5000] and found["training"][-1]["masks"] > found["training"][0]["masks"]


def test_the_share_of_added_loss_on_the_replaced_stretch_counts_tokens(study, monkeypatch):
    splice = pd.DataFrame(
        {
            "layer": "8", "variant": "temporallens",
            "replaced": ["1-3", "1-3", "4-7"], "bucket": ["1-3", "4-7", "4-7"], "value": [-1.0, 0.5, 0.25],
        }
    )  # fmt: skip
    monkeypatch.setattr(tables, "read", lambda s, name: splice if name == "splice" else read(s, name))
    share = (3 * 1) / (3 * 1 + 4 * 0.5)  # 3 and 4 tokens; the last stretch has nothing after it
    assert contents(study)["splice"] == {"8": {"own": pytest.approx(share), "first": -1.0}}


def test_stretches_that_reach_an_end_of_the_window_are_told_from_those_inside(study, monkeypatch):
    """Bumps of width 3 inside the window and at its end, a ramp; a feature of another seed does not count."""
    inside, at_end, ramp = [0, 0, 1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1, 1, 1], [7, 6, 5, 4, 3, 2, 1, 0]
    rows = [("8", 0, inside), ("8", 0, at_end), ("8", 0, ramp), ("8", 0, inside), ("8", 1, ramp)]
    table = pd.DataFrame([(layer, "temporallens", seed, *p) for layer, seed, p in rows])
    table.columns = ["layer", "variant", "seed", *(f"p{t:03d}" for t in range(1, 9))]
    monkeypatch.setattr(tables, "read", lambda study, name: table)
    assert paper_data._stretches(study) == [{"layer": "8", "at_end": 0.5, "interior": 3.0}]


# Numbers in the prose: only those that are injected, the paper's own and definitional constants.

NAMES = re.compile(r"Gemma-\d-\d+B|Gemma-2B|Gemma 2B?|L[01]\b|float32|bfloat16|95 %|C\d\d[ab]?|Eqs?\. \d( to \d)?")


def typed_digits(source: str) -> list[str]:
    """Digits in the markup of a Typst source that stand neither in code, math, raw text, labels nor `says`/`const`."""
    source = re.sub(r"(?<!:)//[^\n]*", "", source)
    source = re.sub(r"`[^`]*`|@[\w-]+|<[\w-]+>|\$[^$]*\$", "", NAMES.sub("", source))
    source = re.sub(r"#?\b(says|const)\[[^\]]*\]", "", source)
    found, modes, i = [], ["markup"], 0  # modes: markup, code (in brackets), line (to its end), body (of if and for)
    while i < len(source):
        character, mode = source[i], modes[-1]
        if mode == "markup":
            if start := re.compile(r"#(let|set|show|import|if|for|else)\b").match(source, i):
                modes.append("body" if start[1] in ("if", "for") else "line")
                i = start.end() - 1
            elif call := re.compile(r"#[\w.-]*[({]").match(source, i):
                modes.append("code")
                i = call.end() - 1
            elif character == "[":
                modes.append("markup")
            elif character == "]":
                modes.pop()
            elif character.isdecimal():
                found.append(" ".join(source[max(0, i - 40) : i + 20].split()))
        elif character == '"':
            i = re.compile(r'"(\\.|[^"\\])*"').match(source, i).end() - 1
        elif character in "[({":
            modes.append("markup" if character == "[" else "code")
        elif character in "])}":
            modes.pop()
        elif character == "\n" and mode == "line":
            modes.pop()
        if character in "]}" and modes[-1] == "body" and not source[i + 1 :].lstrip().startswith("else"):
            modes.pop()
        i += 1
    assert modes == ["markup"], f"the source was not understood: {modes}"
    return found


def test_no_number_is_typed_into_the_text():
    assert typed_digits((typeset.SOURCE / "paper.typ").read_text(encoding="utf-8")) == []


def test_the_guard_against_typed_numbers_sees_them():
    assert typed_digits("The error is 15 % lower.")
    assert typed_digits("#let x = 3\n#note(2cm)[We find 0.73 here.]")
    assert typed_digits("#if x > 3 [about 7 times]")
    assert not typed_digits('#let x = 3\n#note(2cm, "4")[We find #x and #number(y, n: 2) here, #const[1] to $x^2$.]')
