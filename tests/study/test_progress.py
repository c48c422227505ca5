import io
import re

import nbformat
import papermill
import pytest

from lens import checkout
from lens.progress import WATCHED, progress, track
from lens.study import runner
from tests.study.test_rooms import FILES, imports

LINE = re.compile(r"(.+): ([\d,]+) (\w+) (stopped after [\d,]+, )?[\d.]+ s, [\d.,e+]+ \w+/s\n")


@pytest.fixture(autouse=True)
def in_a_log(monkeypatch):
    for name in (WATCHED, "JPY_SESSION_NAME"):
        monkeypatch.delenv(name, raising=False)


def test_a_log_gets_one_line_which_counts_what_was_done_here(capsys):
    with progress("train layer 8", 5000, "steps", done=3000) as advance:
        begun = capsys.readouterr().err
        for _ in range(2000):
            advance(1)
    line = begun + capsys.readouterr().err
    assert begun.startswith("train layer 8: ") and "\n" not in begun
    assert LINE.fullmatch(line).groups() == ("train layer 8", "2,000", "steps", None)


def test_a_line_is_ended_where_the_work_stops_early(capsys):
    with pytest.raises(ZeroDivisionError):
        for i in track(range(10), "probe", "representations"):
            1 / (3 - i)
    assert LINE.fullmatch(capsys.readouterr().err).groups() == ("probe", "10", "representations", "stopped after 3, ")


def test_somebody_who_watches_sees_a_bar(capsys, monkeypatch):
    monkeypatch.setenv(WATCHED, "1")
    assert list(track(range(3), "reconstruct", "dictionaries")) == [0, 1, 2]
    shown = capsys.readouterr().err
    assert shown.startswith("\rreconstruct") and "3/3" in shown


def test_an_executed_notebook_has_one_line_which_papermill_passes_on(tmp_path):
    source = "from lens.progress import track\nfor _ in track(range(3000), 'train layer 8', 'steps'): pass"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    nbformat.write(notebook, tmp_path / "in.ipynb")
    live = io.StringIO()
    executed = papermill.execute_notebook(
        tmp_path / "in.ipynb", None, kernel_name="python3", progress_bar=False, stderr_file=live, cwd=checkout.root()
    )
    line = "".join(output.text for output in executed.cells[0].outputs)  # begun and ended: two pieces
    assert LINE.fullmatch(line) and live.getvalue() == line


@pytest.mark.parametrize("value", ["", "1"])
def test_a_kernel_draws_bars_where_its_runner_is_watched(tmp_path, monkeypatch, value):
    monkeypatch.setenv(WATCHED, value)
    spec = runner._kernel_manager(str(tmp_path)).kernel_spec
    assert spec.env.get(WATCHED, "") == value


def test_bars_are_drawn_in_one_place():
    drawn = [path.name for path in FILES if any(module.split(".")[0] == "tqdm" for module in imports(path))]
    assert drawn == ["progress.py"]
