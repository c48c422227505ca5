"""Semantic digests: what invalidates a stage and what does not."""

import ast
import json
from pathlib import Path

import nbformat
import pytest

from lens import checkout
from lens.study import digests

MODULE = '''"""What it does."""

from lens.low import base


def answer(x: int) -> int:
    """One sentence."""
    return base(x) + 2  # the constant
'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of one notebook that imports lens.high, which imports lens.low; lens.apart is imported by nobody."""
    (tmp_path / "lens" / "pkg").mkdir(parents=True)
    (tmp_path / "lens" / "__init__.py").write_text('"""Names."""\n')
    (tmp_path / "lens" / "pkg" / "__init__.py").write_text("")
    (tmp_path / "lens" / "pkg" / "inner.py").write_text("A = 1\n")
    (tmp_path / "lens" / "high.py").write_text(MODULE)
    (tmp_path / "lens" / "low.py").write_text("def base(x):\n    return x\n")
    (tmp_path / "lens" / "apart.py").write_text("X = 1\n")
    (tmp_path / "notebooks").mkdir()
    save_notebook(tmp_path, "from lens.high import answer\nanswer(1)")
    return tmp_path


def save_notebook(root: Path, *sources: str) -> Path:
    path = root / "notebooks" / "02_train.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources]), path)
    return path


def entry(root: Path) -> dict:
    return digests.entry("02_train", root)


def test_follows_imports_and_only_those(project):
    assert set(entry(project)["modules"]) == {"lens.high", "lens.low"}


@pytest.mark.parametrize(
    "statement",
    ["def f():\n    from lens.pkg.inner import A", "from lens.pkg import inner", "import lens.pkg.inner as i",
     "if True:\n    import lens.pkg.inner"],
)  # fmt: skip
def test_every_form_of_import_counts(project, statement):
    (project / "lens" / "low.py").write_text(f"{statement}\n")
    assert "lens.pkg.inner" in entry(project)["modules"]


def test_relative_imports_are_resolved(project):
    (project / "lens" / "pkg" / "other.py").write_text("from .inner import A\nfrom .. import apart\n")
    (project / "lens" / "low.py").write_text("from lens.pkg.other import A\n")
    assert {"lens.pkg.other", "lens.pkg.inner", "lens.apart"} <= set(entry(project)["modules"])


def test_comments_docstrings_and_formatting_change_nothing(project):
    before = entry(project)
    text = MODULE.replace("# the constant", "# still the constant").replace("One sentence.", "Another sentence.")
    text = text.replace("What it does.", "What it does, told better.").replace(
        "base(x) + 2", "(\n        base( x )+2\n    )"
    )
    assert text != MODULE
    (project / "lens" / "high.py").write_text("# a comment\n\n" + text)
    assert entry(project) == before


def test_a_constant_changes_the_digest_of_its_module_alone(project):
    before = entry(project)
    (project / "lens" / "high.py").write_text(MODULE.replace("+ 2", "+ 3"))
    after = entry(project)
    assert after["modules"]["lens.high"] != before["modules"]["lens.high"]
    assert after["modules"]["lens.low"] == before["modules"]["lens.low"]
    assert after["notebook"] == before["notebook"]


@pytest.mark.parametrize(
    ("one", "other"),
    [("x = 1", "x = True"), ("x = 1", "x = 1.0"), ("x = 'a'", "x = b'a'"), ("f(a, b)", "f(b, a)"),
     ("x = None", "x = ..."), ("return_ = {**a}", "return_ = {None: a}"), ("x: int = 1", "x: str = 1"), ("a.b", "a.c")],
)  # fmt: skip
def test_different_code_has_different_digests(one, other):
    assert digests._meaning(ast.parse(one)) != digests._meaning(ast.parse(other))


def test_a_changed_module_that_nobody_imports_changes_nothing(project):
    before = entry(project)
    (project / "lens" / "apart.py").write_text("X = 2\n")
    (project / "lens" / "__init__.py").write_text('"""Other names."""\n')
    assert entry(project) == before


def test_drawing_counts_for_the_report_and_not_for_the_data_that_is_drawn(project):
    """A new line style must not call for a new training run."""
    for package in ("report", "report/figures"):
        (project / "lens" / package).mkdir()
        (project / "lens" / package / "__init__.py").write_text("")
    (project / "lens" / "report" / "figures" / "curves.py").write_text("WIDTH = 1\n")
    path = save_notebook(project, "from lens.high import answer\nfrom lens.figures.curves import WIDTH")
    path.with_name("05_figures.ipynb").write_text(path.read_text())
    assert set(entry(project)["modules"]) == {"lens.high", "lens.low"}
    assert "lens.figures.curves" in digests.entry("05_figures", project)["modules"]


def test_a_file_beside_an_imported_module_counts(project):
    (project / "lens" / "page.css").write_text("a { }")
    before = entry(project)
    (project / "lens" / "page.css").write_text("b { }")
    assert entry(project)["files"] != before["files"]


def test_a_resaved_notebook_changes_nothing(project):
    before = entry(project)
    path = project / "notebooks" / "02_train.ipynb"
    notebook = nbformat.read(path, as_version=4)
    cell = notebook.cells[0]
    cell.outputs = [nbformat.v4.new_output("stream", text="3")]
    cell.execution_count, cell.id, cell.metadata = 7, "another", {"collapsed": True}
    notebook.metadata = {"language_info": {"name": "python", "version": "3.99"}}
    path.write_text(json.dumps(notebook, indent=4))
    assert entry(project) == before


@pytest.mark.parametrize("change", ["source", "tags", "type"])
def test_what_a_reader_sees_of_a_notebook_counts(project, change):
    before = entry(project)["notebook"]
    path = project / "notebooks" / "02_train.ipynb"
    notebook = json.loads(path.read_text())
    cell = notebook["cells"][0]
    if change == "source":
        cell["source"] = ["from lens.high import answer\n", "answer(2)"]
    elif change == "tags":
        cell["metadata"]["tags"] = ["parameters"]
    else:
        cell["cell_type"] = "markdown"
    path.write_text(json.dumps(notebook))
    assert entry(project)["notebook"] != before


@pytest.mark.parametrize(
    ("source", "message"),
    [("%matplotlib inline", "cell 0, line 1: not plain Python"),
     ("from lens import answer", "hides where answer is defined"),
     ("from lens.pkg import A", "hides where A is defined"),
     ("import lens", "names no module"),
     ("from lens.nowhere import x", "lens.nowhere: no such module"),
     ("import importlib\nimportlib.import_module('lens.low')", "line 2: an import by name cannot be followed")],
)  # fmt: skip
def test_code_that_cannot_be_followed_is_refused(project, source, message):
    save_notebook(project, source)
    with pytest.raises(digests.DigestError, match=message):
        entry(project)


def test_a_missing_or_broken_notebook_is_named(project):
    path = project / "notebooks" / "02_train.ipynb"
    path.write_text("{")
    with pytest.raises(digests.DigestError, match="02_train.ipynb: not a notebook"):
        entry(project)
    path.unlink()
    with pytest.raises(digests.DigestError, match="02_train.ipynb: no such notebook"):
        entry(project)


def test_every_entry_of_this_project_can_be_digested(tmp_path):
    paths = digests.write(tmp_path)
    assert sorted(p.stem for p in paths) == sorted(digests.ENTRIES)
    of_no_study = {"06_your_model"}
    assert {p.stem for p in (checkout.root() / "notebooks").glob("*.ipynb")} - of_no_study == set(digests.NOTEBOOKS)


@pytest.mark.parametrize(
    "path", sorted(checkout.root().glob("lens/**/__init__.py")), ids=lambda p: str(p.relative_to(checkout.root()))
)
def test_package_files_hold_only_names(path):
    """Digests leave them out, so nothing in them may decide a result."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Expr):
            assert isinstance(node.value, ast.Constant), "only a docstring"
        else:
            assert isinstance(node, (ast.Import, ast.ImportFrom, ast.Assign)), ast.unparse(node)
            if isinstance(node, ast.Assign):
                assert ast.unparse(node.targets[0]) in {"__all__", "(__getattr__, __dir__, __all__)"}


def test_every_public_name_exists():
    import lens

    for name in lens.__all__:
        assert getattr(lens, name).__module__.startswith("lens.")
    with pytest.raises(AttributeError, match="has no 'train_layr'"):
        lens.train_layr  # noqa: B018
