"""The types that the page's scripts are checked with: those of the payload, and an error for each slip."""

import re
import shutil
import subprocess

import pytest

from lens.explorer import page as explorer
from lens.explorer.profiles import collect
from tests.explorer import synthetic
from tests.explorer.test_explorer_profiles import dictionary, profiled

ROOT = explorer.FOLDER.parents[1]
TOOLS = ROOT / "tests/explorer"
TSC = TOOLS / "node_modules/.bin/tsc"
TYPES = (explorer.FOLDER / "types.d.ts").read_text(encoding="utf-8")


def declared(name: str) -> dict[str, tuple[bool, str]]:
    """Whether each field of an interface may be absent, and its type."""
    parent, body = re.search(
        rf"^interface {name}(?: extends (\w+))? {{\n(.*?)^}}", TYPES, re.DOTALL | re.MULTILINE
    ).groups()
    fields = {field: (bool(may), kind) for field, may, kind in re.findall(r"^  (\w+)(\??): (.*);$", body, re.MULTILINE)}
    return (declared(parent) if parent else {}) | fields


def check(name: str, given: dict) -> None:
    """All fields that the interface asks for, and no other."""
    fields = declared(name)
    assert fields
    needed = {field for field, (may, _) in fields.items() if not may}
    known = {field for field, (_, kind) in fields.items() if kind != "undefined"}
    assert needed <= set(given) <= known, name


def check_arrays(name: str, arrays: dict) -> None:
    check(name, arrays)
    ranks = {field: int(re.fullmatch(r"Packed<(\d)>", kind)[1]) for field, (_, kind) in declared(name).items()}
    assert {field: values.ndim for field, values in arrays.items()} == {field: ranks[field] for field in arrays}


def profiles():
    return collect({name: profiled(dictionary(seed, name)) for seed, name in enumerate(("first", "second"))})


@pytest.mark.parametrize(
    "facts, make", [("StudyFacts", lambda: [synthetic.study(), synthetic.encoder()]), ("ProfileFacts", profiles)]
)
def test_the_payload_has_the_fields_that_are_declared(facts, make):
    for study in make():
        check(facts, {**study.study.header, "arrays": {}})
        check_arrays("TextArrays", study.study.arrays)
        for beside in study.study.header.get("beside", []):
            check("Beside", beside)
        for part in study.layers.values():
            layer = part.header
            check("LayerPart", {**layer, "arrays": {}})
            check_arrays("LayerArrays", part.arrays)
            check("Columns", layer["columns"])
            check("LayerNumbers", layer["numbers"])
            for twin in layer["twins"]:
                check("Twin", twin)
            for field, name in (("lens", "Lens"), ("clusters", "Clusters"), ("verdicts", "Verdicts")):
                if layer[field] is not None:
                    check(name, layer[field])


def test_each_script_asks_to_be_checked():
    scripts = list(explorer.FOLDER.glob("*.js"))
    assert scripts
    assert all(path.read_text(encoding="utf-8").startswith("// @ts-check\n") for path in scripts)


SLIPS = {  # script: what is there, and a slip
    "02_data.js": ("facts.bandwidth", "facts.bandwith"),
    "04_charts.js": ("layer.arrays.firings", "layer.arrays.firing"),
    "05_list.js": ('value(layer, "density", k)', 'value(layer, "densty", k)'),
    "06_card.js": ("at(neighbour_cosine, k, i)", "at(neighbour_cosine, k)"),  # an index less: values, not a number
    "07_text.js": ("state.passage", "state.pasage"),
    "09_about.js": ("facts.trained_on", "facts.trainedOn"),
}


@pytest.mark.skipif(
    shutil.which("node") is None or not TSC.exists(), reason="NOT CHECKED: needs node and TypeScript (make scripts)"
)
def test_a_misspelt_field_of_the_payload_is_an_error_and_nothing_else_is(tmp_path):
    page, tools = tmp_path / "lens/explorer", tmp_path / "tests/explorer"
    shutil.copytree(explorer.FOLDER, page, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    tools.mkdir(parents=True)
    shutil.copy(TOOLS / "tsconfig.json", tools)
    for name, (right, wrong) in SLIPS.items():
        text = (page / name).read_text(encoding="utf-8")
        assert right in text
        (page / name).write_text(text.replace(right, wrong, 1), encoding="utf-8")
    done = subprocess.run(["node", TSC, "-p", tools], capture_output=True, text=True)
    assert done.returncode != 0
    assert set(re.findall(r"(\w+\.js)\(\d+,\d+\): error", done.stdout)) == set(SLIPS)
