import dataclasses
import json
import re
import shutil

import pandas as pd
import pytest

from lens import checkout
from lens.figures.plot import save
from lens.study import params as config
from lens.study import tables
from lens.study.params import Study
from paper import across, claims, paper_data
from paper import typeset as paper
from paper.gallery import drawn, looks_of, reader
from paper.typeset import PaperError
from tests.paper import synthetic

QUICK = {
    "layers": (8,),
    "main_layers": (8,),
    "seeds": (0, 1, 2),
    "ablations": config.Ablations((8,), ("uniform_weights", "frozen_masks")),
}


def make(**changes) -> Study:
    """A study with made-up tables, judged and drawn by the real code."""
    study = dataclasses.replace(Study.load("params.yaml"), **changes)
    layers, size = tuple(map(str, study.layers)), {"seeds": study.seeds, "steps": study.training.steps}
    size |= {"n_positions": study.windows.length, "n_features": 8}
    made = synthetic.tables(layers=layers, variants=study.variants, **size)
    if study.ablations.layers:
        extra = synthetic.tables(
            layers=tuple(map(str, study.ablations.layers)), variants=study.ablations.variants, **size
        )
        made = {name: synthetic.join(table, extra[name]) for name, table in made.items()}
    synthetic.write(study, made)
    claims.build(study)
    return study


def draw(study: Study) -> None:
    for name, plot in drawn(reader(study), reader(study, over_depth=True), looks_of(study))[0].items():
        save(plot, study.results / "figures", name)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkout, "root", lambda: root)
        draw(make(**QUICK))
    return root


@pytest.fixture
def study(made, tmp_path, monkeypatch) -> Study:
    """The quick study at one layer, with a fresh copy of its made-up results."""
    shutil.copytree(made / "results", tmp_path / "results")
    monkeypatch.setattr(checkout, "root", lambda: tmp_path)
    return dataclasses.replace(Study.load("params.yaml"), **QUICK)


def edit_claims(study: Study, change) -> None:
    path = study.results / "claims.json"
    document = json.loads(path.read_text())
    change({claim["id"]: claim for claim in document["claims"]}, document)
    path.write_text(json.dumps(document))


def test_the_paper_is_tagged_pdf_ua_and_the_same_bytes_twice(study):
    path = paper.build(study)
    first = path.read_bytes()
    assert path == study.results / "paper.pdf"
    assert first.startswith(b"%PDF-")
    assert b"pdfuaid" in first and b"/MarkInfo" in first
    assert paper.build(study).read_bytes() == first
    assert not list(study.results.glob("*.partial"))


def test_a_claim_that_is_missing_stops_the_build_and_is_named(study):
    def drop(_, document):
        document["claims"] = [claim for claim in document["claims"] if claim["id"] != "C01"]

    edit_claims(study, drop)
    with pytest.raises(PaperError, match=r"claims\.C01"):
        paper.build(study)
    assert not (study.results / "paper.pdf").exists()


def test_a_number_that_is_missing_from_the_tables_stops_the_build_and_is_named(study):
    path = study.results / "tables" / "measures" / "layer_8" / "summary.csv"
    rows = path.read_text().splitlines(keepends=True)
    path.write_text("".join(row for row in rows if not (",temporallens," in row and ",fvu," in row)))
    with pytest.raises(PaperError, match=r"summary\.8\.temporallens\.fvu"):
        paper.build(study)


def test_a_figure_that_is_missing_stops_the_build_and_is_named(study):
    (study.results / "figures" / "mask_heat_map.json").unlink()
    with pytest.raises(PaperError, match=r"figures\.mask_heat_map"):
        paper.build(study)
    shutil.rmtree(study.results / "figures")
    with pytest.raises(PaperError, match="figures stage"):
        paper.build(study)


def test_claims_of_another_study_are_refused(study):
    edit_claims(study, lambda _, document: document.update(model="smollm2-135m"))
    with pytest.raises(PaperError, match="smollm2-135m"):
        paper.build(study)
    (study.results / "claims.json").unlink()
    with pytest.raises(PaperError, match=r"claims\.json is missing"):
        paper.build(study)


def test_what_the_paper_may_ask_for_is_what_the_study_measured(study):
    content = paper.contents(study)
    table = tables.read(study, "summary").query(
        "layer == '8' and variant == 'standard' and metric == 'fvu' and positions == 'text'"
    )
    found = content["summary"]["8"]["standard"]["fvu"]
    assert found["mean"] == pytest.approx(table["value"].mean())
    assert found["low"] < found["mean"] < found["high"]
    assert content["study"]["layers"][0] == {"name": "8", "depth": 0.5}
    assert content["study"]["batch_tokens"] == 16 * 127
    assert content["recipe"]["l1_coef"] == 0.04
    assert content["compute"]["minutes"] == pytest.approx(2 * 61.5 / 60)
    assert content["study"]["stand_in"] and content["study"]["model"]["name"] == "Gemma-3-270M"
    json.dumps(content, allow_nan=False)


def test_other_models_stand_beside_the_study_once_there_are_any(study):
    alone = paper.build(study).read_bytes()
    others = [
        across.rows(study).assign(study="minilm", model="all-minilm-l6-v2"),
        across.rows(study).assign(study="random-gemma", model="random:gemma-3-270m", estimate=float("nan")),
        across.rows(study).assign(estimate=7.0),  # this study as it was when the table was written
    ]
    pd.concat(others).to_csv(across.path(), index=False)
    entries = paper.contents(study)["across"]
    assert [(e["study"], e["random"], e["positions"]) for e in entries] == [
        ("quick", False, "inferred"), ("minilm", False, "learned"), ("random-gemma", True, "inferred"),
    ]  # fmt: skip
    assert entries[1]["readings"] == entries[0]["readings"] and entries[0]["readings"]["positional"]["estimate"] != 7.0
    assert entries[2]["readings"]["positional"]["estimate"] is None
    assert paper.build(study).read_bytes() != alone


def test_a_changed_estimate_changes_the_paper(study):
    before = paper.build(study).read_bytes()

    def shift(by_id, _):
        by_id["C01"]["readings"][0]["estimate"] = 0.123456

    edit_claims(study, shift)
    assert paper.build(study).read_bytes() != before


def test_a_study_without_fidelity_ablations_or_a_known_model_is_typeset_too(made, tmp_path, monkeypatch):
    monkeypatch.setattr(checkout, "root", lambda: tmp_path)
    study = make(
        name="other",
        model="random:gemma-3-tiny",
        layers=("embedding", 2),
        seeds=(0,),
        windows=config.WindowRule(length=32, train=64, test=16, fidelity=0),
        ablations=config.Ablations(),
    )
    shutil.copytree(made / "results" / "quick" / "figures", study.results / "figures")
    assert paper.build(study).is_file()


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
    assert typed_digits((paper.SOURCE / "paper.typ").read_text(encoding="utf-8")) == []


def test_the_guard_against_typed_numbers_sees_them():
    assert typed_digits("The error is 15 % lower.")
    assert typed_digits("#let x = 3\n#note(2cm)[We find 0.73 here.]")
    assert typed_digits("#if x > 3 [about 7 times]")
    assert not typed_digits('#let x = 3\n#note(2cm, "4")[We find #x and #number(y, n: 2) here, #const[1] to $x^2$.]')


def test_what_calibration_found_is_read_from_its_tables(study):
    found = paper.contents(study)["calibration"]
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
    read = tables.read
    monkeypatch.setattr(tables, "read", lambda s, name: splice if name == "splice" else read(s, name))
    share = (3 * 1) / (3 * 1 + 4 * 0.5)  # 3 and 4 tokens; the last stretch has nothing after it
    assert paper.contents(study)["splice"] == {"8": {"own": pytest.approx(share), "first": -1.0}}


@pytest.mark.parametrize(
    ("verdict", "attributable"),
    [("reproduced", "yes"), ("partly", "no"), ("contradicted", "no"), ("inconclusive", "yes")],
)
def test_every_verdict_can_be_put_into_words(study, verdict, attributable):
    def all_alike(by_id, _):
        for claim in by_id.values():
            if claim["status"] == "measured":
                claim.update(verdict=verdict, attributable=attributable)

    edit_claims(study, all_alike)
    assert paper.build(study).is_file()


def test_stretches_that_reach_an_end_of_the_window_are_told_from_those_inside(study, monkeypatch):
    """Bumps of width 3 inside the window and at its end, a ramp; a feature of another seed does not count."""
    inside, at_end, ramp = [0, 0, 1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1, 1, 1], [7, 6, 5, 4, 3, 2, 1, 0]
    rows = [("8", 0, inside), ("8", 0, at_end), ("8", 0, ramp), ("8", 0, inside), ("8", 1, ramp)]
    table = pd.DataFrame([(layer, "temporallens", seed, *p) for layer, seed, p in rows])
    table.columns = ["layer", "variant", "seed", *(f"p{t:03d}" for t in range(1, 9))]
    monkeypatch.setattr(tables, "read", lambda study, name: table)
    assert paper_data._stretches(study) == [{"layer": "8", "at_end": 0.5, "interior": 3.0}]
