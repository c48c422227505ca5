"""The parameter contract of notebooks, the strict runner and the canonical copy."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lens import checkout
from lens.study import notebooks
from lens.study.canonical import UnstableOutput, canonical
from lens.study.notebooks import ParameterError

PARAMETERS = """study: str = "params.yaml"  # study or parameter file
layer = 8  # type: int|str  block index, or embedding
seeds: list[int] = [0, 1]  # which seeds
rate: float = 0.5
fast: bool = False  # skip the slow part
out: str = "scratch/04_analysis"  # where to write
"""
CHECK = 'from lens.study.notebooks import check_parameters\ncheck_parameters("04_analysis", globals())'


def save_notebook(root: Path, *sources: str, parameters: str = PARAMETERS) -> Path:
    cells = [new_markdown_cell("# Analyse"), new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    cells += [new_code_cell(source) for source in sources]
    path = root / "notebooks" / "04_analysis.ipynb"
    path.parent.mkdir(exist_ok=True)
    metadata = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    nbformat.write(new_notebook(cells=cells, metadata=metadata), path)
    return path


# --- the contract ---------------------------------------------------------------------------------------------------


@pytest.fixture
def contract(tmp_path):
    return notebooks.parameters(save_notebook(tmp_path))


def test_contract_has_names_types_defaults_and_help(contract):
    assert list(contract) == ["study", "layer", "seeds", "rate", "fast", "out"]
    assert contract["layer"] == notebooks.Parameter("layer", "int|str", 8, "block index, or embedding")
    assert contract["seeds"] == notebooks.Parameter("seeds", "list[int]", [0, 1], "which seeds")
    assert contract["rate"].help == ""


@pytest.mark.parametrize("path", sorted(checkout.root().glob("notebooks/*.ipynb")), ids=lambda p: p.stem)
def test_papermill_sees_the_same_contract(path):
    """Otherwise papermill would warn about a parameter that exists."""
    contract = notebooks.parameters(path)
    seen = papermill.inspect_notebook(path)
    assert {p.name: p.annotation for p in contract.values()} == {n: p["inferred_type_name"] for n, p in seen.items()}
    assert all(p.help for p in contract.values()), "the comments are the help text"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("layer", "3", 3), ("layer", "embedding", "embedding"), ("study", "3", "3"), ("rate", "3e-4", 3e-4),
     ("rate", "1", 1), ("seeds", "[3, 4]", [3, 4]), ("fast", "true", True)],
)  # fmt: skip
def test_texts_become_values_of_the_declared_type(contract, name, text, value):
    read = notebooks.from_text("04_analysis", contract, {name: text})[name]
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [("layr", "7", r"no parameter 'layr' \(did you mean 'layer'\?\)"),
     ("rate", "much", "rate must be float, got 'much'"), ("rate", "true", "rate must be float"),
     ("seeds", "3", "seeds must be list"), ("seeds", '["a"]', "seeds must be list"),
     ("fast", "no", "fast must be bool"), ("fast", "1", "fast must be bool")],
)  # fmt: skip
def test_unknown_names_and_wrong_types_are_refused(contract, name, text, message):
    with pytest.raises(ParameterError, match=message):
        notebooks.from_text("04_analysis", contract, {name: text})


@pytest.mark.parametrize("value", [True, 7.5, None, [7]])
def test_values_of_a_union_are_checked(contract, value):
    with pytest.raises(ParameterError, match=r"layer must be int\|str"):
        notebooks.check_values("04_analysis", contract, {"layer": value})


@pytest.mark.parametrize(
    ("cell", "message"),
    [("layer = 8", "is not `name: type = default`"), ("layer: int", "is not `name: type = default`"),
     ("layer: Layer = 8", "a type made of other names"), ("layer: int = 4 + 4", "a default that is not a literal"),
     ("import os", "is not `name: type = default`"), ("layer: int = (", "not plain Python")],
)  # fmt: skip
def test_a_line_that_declares_no_parameter_is_refused(tmp_path, cell, message):
    with pytest.raises(ParameterError, match=message):
        notebooks.parameters(save_notebook(tmp_path, parameters=cell))


def test_unknown_notebooks_are_refused_with_the_close_match(tmp_path):
    save_notebook(tmp_path)
    with pytest.raises(ParameterError, match="no notebook '04_analysys' .did you mean '04_analysis'"):
        notebooks.notebook_path("04_analysys", tmp_path)


def test_check_accepts_the_namespace_of_a_kernel(tmp_path):
    save_notebook(
        tmp_path, "from lens.study.params import EMBEDDING, Study as top\nimport lens.study.notebooks", "%time 1"
    )
    namespace = {"layer": 3, "In": [""], "Out": {}, "_i": "x = 1", "_": 3, "exit": print, "notebooks": notebooks}
    namespace |= {"EMBEDDING": "embedding", "top": object}
    notebooks.check_parameters("04_analysis", namespace, tmp_path)


def test_check_refuses_what_papermill_lets_pass(tmp_path):
    path = save_notebook(tmp_path, "raise SystemExit")  # never reached: only the injected cell is of interest here
    nb = papermill.execute_notebook(
        path, None, {"layr": 7}, prepare_only=True, kernel_name="python3", progress_bar=False
    )
    namespace: dict = {}
    for cell in nb.cells:
        if {"parameters", "injected-parameters"} & set(cell.metadata.get("tags", [])):
            exec(cell.source, namespace)
    with pytest.raises(ParameterError, match="did you mean 'layer'"):
        notebooks.check_parameters("04_analysis", namespace, tmp_path)


# --- the canonical copy ---------------------------------------------------------------------------------------------


def executed(*outputs, source="f(x)", **metadata):
    cell = new_code_cell(source, outputs=list(outputs), execution_count=1, metadata=metadata)
    return new_notebook(
        cells=[cell],
        metadata={"papermill": {"duration": 1.5}, "language_info": {"name": "python", "version": "3.11.7"}},
    )


def printed(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def test_when_and_where_a_notebook_ran_leaves_no_trace():
    one = executed(printed("a\n"), papermill={"duration": 1}, execution={"iopub.status": "t"}, tags=["figure"])
    other = executed(printed("a\n"), papermill={"duration": 2}, tags=["figure"])
    other.metadata.language_info.version = "3.12.0"
    assert one.cells[0].id != other.cells[0].id
    assert canonical(one) == canonical(other)
    assert nbformat.reads(canonical(one), as_version=4).cells[0].metadata == {"tags": ["figure"]}


def test_canonical_copies_are_valid_and_keep_what_was_shown_however_it_was_cut():
    picture = new_output("display_data", {"image/png": "AAAA", "text/plain": "<Figure>"})
    text = canonical(executed(printed("a\n"), printed(" 50%|", "stderr"), printed("b\n"), picture))
    assert text == canonical(executed(printed("a\nb\n"), picture))
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    assert canonical(notebook) == text
    assert json.loads(text)["cells"][0]["outputs"][1]["data"] == {"image/png": "AAAA", "text/plain": "<Figure>"}


@pytest.mark.parametrize(
    ("shown", "what"),
    [("<object at 0x7f3a2b1c9d30>", "memory address"), ("made 2026-01-31 12:30", "time stamp"),
     ("2026-01-31T12:30:05Z", "time stamp"), ("/home/ada/model.bin", "absolute path"),
     ("['/tmp/x']", "absolute path"), ("/data/project/results", "folder of this machine"),
     (r"C:\Users\ada", "absolute path")],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["text/plain", "text/html", "stdout"])
def test_unstable_outputs_are_refused(shown, what, kind):
    output = printed(shown) if kind == "stdout" else new_output("display_data", {kind: shown})
    with pytest.raises(UnstableOutput, match=rf"cell 0 \(f\(x\)\) shows an? {what}"):
        canonical(executed(output), ("/data/project",))


@pytest.mark.parametrize(
    "shown",
    ["0x1f", "https://example.org/home/page", "and/or", "2026-01-31", "results/quick/tables", "</td></tr>", "1/2",
     "/data/project-two", '<img src="data:image/png;base64,AA/tmp/AA0x123456789">'],
)  # fmt: skip
def test_stable_outputs_pass(shown):
    canonical(executed(new_output("display_data", {"text/html": shown})), ("/data/project",))


# --- the runner -----------------------------------------------------------------------------------------------------


DRIVER = """
import contextlib, io, json, sys
from lens.cli import main
for arguments in json.load(sys.stdin):
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        code = main(arguments)
    print(json.dumps([code, shown.getvalue()]))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project's code with one small notebook, so that nothing is written into the project itself."""
    root = tmp_path / "project"
    shutil.copytree(checkout.root() / "lens", root / "lens")
    shutil.copy(checkout.root() / "dvc.yaml", root)
    (root / "paper").mkdir()
    shutil.copy(checkout.root() / "paper" / "recipes.yaml", root / "paper")
    (root / "pyproject.toml").write_text("[tool.temporallens]\ncommands = []\n")
    params = (checkout.root() / "params.yaml").read_text()
    (root / "params.yaml").write_text(re.sub(r"layers: \[3.*\]", "layers: [3, 8]", params))
    small = "".join(line + "\n" for line in PARAMETERS.splitlines() if line.startswith(("study", "layer", "out")))
    save_notebook(root, CHECK, "print(study, layer, out)", parameters=small)
    return root


def lens(root: Path, *commands: tuple[str, ...], **environment: str) -> list[tuple[int, str]]:
    """Exit code and output, standard error included, of `python -m lens <command>` for each command, in one process."""
    run = subprocess.run(
        [sys.executable, "-c", DRIVER], cwd=root, input=json.dumps(commands), env={**os.environ, **environment},
        text=True, stdout=subprocess.PIPE, timeout=120, check=True,
    )  # fmt: skip
    return [tuple(json.loads(line)) for line in run.stdout.splitlines()]


def add_cell(root: Path, source: str, name: str = "04_analysis") -> None:
    """Save notebook `name`: 04_analysis with one more cell."""
    notebook = nbformat.read(root / "notebooks" / "04_analysis.ipynb", as_version=4)
    notebook.cells.append(new_code_cell(source))
    notebook.cells[2].source = CHECK.replace("04_analysis", name)
    nbformat.write(notebook, root / "notebooks" / f"{name}.ipynb")


GIVEN = ("--study", "params.yaml", "--layer", "8")
ANALYSE = ("run", "04_analysis", *GIVEN)


def left_by_killed_runs(project: Path) -> tuple[Path, list[Path]]:
    """Partly executed notebooks: of the same stage and a process that has gone, and two that are not to be touched."""
    running = project / "scratch" / "running"
    running.mkdir(parents=True)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left, other = (
        running / f"quick-{stage}-{gone.pid}.ipynb" for stage in ("04_analysis_layer_8", "04_analysis_layer_3")
    )
    alive = running / f"quick-04_analysis_layer_8-{os.getpid()}.ipynb"
    for path in (left, other, alive):
        path.write_text("partly executed")
    return left, [other, alive]


def test_run_leaves_a_canonical_copy_and_a_record(project):
    add_cell(project, "import os, sys\nprint(os.path.exists('dvc.yaml'))\nprint('50%', file=sys.stderr)")
    left, others = left_by_killed_runs(project)
    [(code, output)] = lens(project, ANALYSE)
    assert not left.exists() and sorted(left.parent.iterdir()) == sorted(others)
    copy = project / "results/quick/notebooks/04_analysis_layer_8.ipynb"
    assert code == 0 and "results/quick/notebooks/04_analysis_layer_8.ipynb" in output and "50%" in output
    notebook = nbformat.read(copy, as_version=4)
    assert notebook.cells[4].outputs[0].text == "params.yaml 8 results/quick\n"
    assert [o.text for o in notebook.cells[5].outputs] == ["True\n"], "runs from the top of the project"
    record = json.loads((project / "results/quick/runs/04_analysis_layer_8.json").read_text())
    assert record["stage"] == "04_analysis_layer_8" and record["parameters"]["layer"] == 8
    assert record["wall_seconds"] > 0 and record["cpus"] >= 1 and record["peak_memory_mib"] > 10
    assert set(record["versions"]) == {"python", "torch", "transformers", "numpy"}
    assert sorted(p.name for p in (project / "results/quick/notebooks").iterdir()) == [copy.name]

    # Again, elsewhere, for a user who has another kernel under the same name and start-up files that fail.
    home = project.with_name("home")
    elsewhere = home / "elsewhere"
    shutil.copytree(project, elsewhere)
    kernels = home / "jupyter/kernels/python3"
    kernels.mkdir(parents=True)
    (kernels / "kernel.json").write_text('{"argv": ["/bin/false"], "display_name": "x", "language": "python"}')
    startup = home / ".ipython/profile_default/startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("print('good morning')\nraise SystemExit(3)")
    hostile = {"JUPYTER_PATH": str(home / "jupyter"), "JUPYTER_PREFER_ENV_PATH": "0", "HOME": str(home)}
    [(code, output)] = lens(elsewhere, ANALYSE, **hostile)
    assert code == 0, output
    assert (elsewhere / copy.relative_to(project)).read_bytes() == copy.read_bytes()


WRONG = {
    "no parameter 'layr' (did you mean 'layer'?)": ("04_analysis", "--study", "params.yaml", "--layr", "8"),
    "04_analysis needs --layer (int|str)": ("04_analysis", "--study", "params.yaml"),
    "layer 7 is not in study 'quick'": ("04_analysis", "--study", "params.yaml", "--layer", "7"),
    "--layer has no value": ("04_analysis", "--layer"),
    "--layer is given twice": ("04_analysis", "--layer", "8", "--layer=3"),
    "expected --name value, found '8'": ("04_analysis", "8"),
    "(did you mean 'quick'?)": ("04_analysis", "--study", "quik", "--layer", "8"),
    "no notebook '04_analysys' (did you mean '04_analysis'?)": ("04_analysys", *GIVEN),
}


MISSPELT = {
    "recipe 'mine': unknown field 'lrr' (did you mean 'lr'": "recipes: {mine: {lrr: 1.0}}",
    "recipe 'mine': unknown architecture 'rellu' (did you mean 'relu'": "recipes: {mine: {architecture: rellu}}",
    "recipe 'mine': unknown position term 'maks' (did you mean 'mask'": "recipes: {mine: {position: maks}}",
    "recipe 'mine': 'own.py:Mine' cannot be imported": "recipes: {mine: {architecture: 'own.py:Mine'}}",
    "no random model 'gemma-3-tny' (did you mean 'gemma-3-tiny'": "model: random:gemma-3-tny",
}


def test_wrong_requests_and_names_in_a_study_stop_before_anything_is_written(project):
    shutil.copy(project / "notebooks" / "04_analysis.ipynb", project / "notebooks" / "01_extract.ipynb")
    text = (project / "params.yaml").read_text().replace("study: quick", "study: own")
    text = re.sub(
        "(?m)^(params_file|recipe_file): .*$", "", re.sub(r"(?m)^  variants: \[[^]]*\]", "  variants: []", text)
    )
    text = re.sub(r"(?m)^(variants|roles): .*$", r"", text) + "variants: [mine]\n"
    for i, line in enumerate(MISSPELT.values()):
        key = line.partition(":")[0]
        own = "" if key == "recipes" else "recipes: {mine: {}}\n"
        changed = re.sub(rf"(?m)^({key}|recipes): .*$", "", text) + own + line + "\n"
        (project / f"own{i}.yaml").write_text(changed)
    given = [("01_extract", "--study", f"own{i}.yaml", "--layer", "8") for i in range(len(MISSPELT))]
    answers = lens(project, *(("run", *words) for words in [*WRONG.values(), *given]))
    for message, (code, output) in zip([*WRONG, *MISSPELT], answers, strict=True):
        assert code == 1 and output.startswith("error: ") and message in output
    assert not (project / "results").exists() and not (project / "scratch").exists()


def test_a_trial_writes_only_where_it_is_told(project):
    trial = ("run", "04_analysis", *GIVEN[:2], "--layer", "7", "--out", "scratch/try")
    [(code, shown), (done, output)] = lens(project, ("run", "04_analysis", "--help"), trial)
    assert code == 0 and "--layer" in shown and "block index, or embedding" in shown
    assert done == 0 and "scratch/try/notebooks/04_analysis_layer_7.ipynb" in output
    assert "params.yaml 7 scratch/try" in (project / "scratch/try/notebooks/04_analysis_layer_7.ipynb").read_text()
    assert not (project / "results").exists()


def test_a_path_may_hold_what_a_shell_or_a_pattern_would_read(project):
    """In the project's own folder, the study's file, and the folder of a trial; relative or not."""
    name = "a [b] *? #1 50% é::b:c"
    root = project.rename(project.with_name(name))
    text = (root / "params.yaml").read_text().replace("study: quick", "study: own")
    (root / f"{name}.yaml").write_text(re.sub("(?m)^params_file: .*$", "", text))
    add_cell(root, "import lens, os\nprint(os.path.dirname(os.path.dirname(lens.__file__)) == os.getcwd())")
    trial = ("--layer", "8", "--out", f"scratch/{name}")
    own = [("run", "04_analysis", "--study", study, *trial) for study in (f"{name}.yaml", str(root / f"{name}.yaml"))]
    for code, output in lens(root, *own):
        assert code == 0 and f"scratch/{name}/notebooks/04_analysis_layer_8.ipynb" in output, output
        copy = nbformat.read(root / "scratch" / name / "notebooks" / "04_analysis_layer_8.ipynb", as_version=4)
        assert copy.cells[4].outputs[0].text == f"{name}.yaml 8 scratch/{name}\n"
        assert copy.cells[5].outputs[0].text == "True\n"
    assert not list((root / "scratch" / "running").iterdir())


def test_a_trial_of_a_layer_that_is_none_makes_no_folder(project):
    layers = ("../../x", "-1", "embeding")
    answers = lens(project, *(("run", "04_analysis", *GIVEN[:2], "--layer", x, "--out", "scratch/try") for x in layers))
    for layer, (code, output) in zip(layers, answers, strict=True):
        assert code == 1 and layer in output and "neither a block index" in output
    assert not (project / "scratch").exists() and not (project / "results").exists()


FAILING = {
    "04_error": ("1 / 0", "ZeroDivisionError"),
    "04_exit": ("import sys; sys.exit(0)", "ended the run early"),
    "04_killed": ("import os; os._exit(1)", "died"),
    "04_address": ("object()", "shows a memory address"),
}


def test_a_failed_run_keeps_the_partly_executed_notebook_aside(project):
    for name, (source, _) in FAILING.items():
        add_cell(project, source, name)
        old = project / f"results/quick/notebooks/{name}_layer_8.ipynb"
        old.parent.mkdir(parents=True, exist_ok=True)
        old.write_text("result of other code")
    answers = lens(project, *(("run", name, *GIVEN) for name in FAILING))
    for (name, (_, message)), (code, output) in zip(FAILING.items(), answers, strict=True):
        aside = f"scratch/failed/{name}_layer_8.ipynb"
        assert code == 1 and message in output and aside in output
        assert "params.yaml 8 results/quick" in (project / aside).read_text()
    assert not list((project / "scratch/running").iterdir())
    assert not list((project / "results/quick").glob("*/*"))


EDITS = {
    "04_params": ("params.yaml", "steps: 600", "steps: 601", "changed during the run"),
    "04_version": ("lens/versions.yaml", "train: 1", "train: 2", "changed during the run"),
    "04_layers": ("params.yaml", "layers: [3, 8]", "layers: [3, 8, 13]", None),
    "04_code": ("lens/study/verify.py", "altered", "other", None),
}


def test_what_dvc_would_record_wrongly_is_noticed(project):
    """Parameters and versions edited during a run; layers added and code edited concern no stage that is under way."""
    for name, (path, old, new, _) in EDITS.items():
        assert old in (project / path).read_text()
        edit = f"import pathlib\np = pathlib.Path({path!r})\n_ = p.write_text(p.read_text().replace({old!r}, {new!r}))"
        add_cell(project, edit, name)
    answers = lens(project, *(("run", name, *GIVEN) for name in EDITS))
    for (name, (*_, message)), (code, output) in zip(EDITS.items(), answers, strict=True):
        assert code == (1 if message else 0) and (message or "") in output, output
        assert (project / f"results/quick/notebooks/{name}_layer_8.ipynb").exists() == (message is None)


def test_plain_papermill_refuses_a_misspelt_parameter(project, caplog):
    def run(**parameters):
        out = project / "out.ipynb"
        source = project / "notebooks" / "04_analysis.ipynb"
        papermill.execute_notebook(source, out, parameters, cwd=project, progress_bar=False)
        return out.read_text()

    with pytest.raises(papermill.PapermillExecutionError, match="no parameter 'layr' .did you mean 'layer'"):
        run(layr=7)
    caplog.clear()
    assert "params.yaml 7 scratch/04_analysis" in run(layer=7)
    assert "unknown parameter" not in caplog.text
