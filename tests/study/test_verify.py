"""`lens verify` on the studies of this checkout; on a pipeline that ran, see tests/pipeline."""

import pytest

from lens import checkout, cli
from lens.study import verify
from lens.study.verify import Verification


@pytest.fixture
def differing(monkeypatch) -> dict[str, tuple[str, ...]]:
    """Study -> what differs there; the pages are `pages`."""
    found: dict[str, tuple[str, ...]] = {}
    monkeypatch.setattr(verify, "compare", lambda study: Verification(study.name, (), found.get(study.name, ()), ()))
    monkeypatch.setattr(verify, "outdated", lambda: list(found.get("pages", ())))
    return found


def test_without_a_study_each_one_that_was_recorded_is_verified_in_a_line(differing, capsys):
    assert cli.main(["verify"]) == 0
    *studies, pages = capsys.readouterr().out.splitlines()
    locks = [checkout.root() / "dvc.lock", *sorted(checkout.root().glob("studies/*/dvc.lock"))]
    assert [line.split(":")[0] for line in studies] == [
        f"study {lock.parent.name if lock.parent != checkout.root() else 'quick'}" for lock in locks
    ]
    assert pages == "pages: 0 out of date"


@pytest.mark.parametrize("what", ["full", "pages"])
def test_one_study_or_page_that_differs_fails_all(differing, capsys, what):
    differing[what] = ("x is modified",)
    assert cli.main(["verify"]) == 1
    assert capsys.readouterr().out.count("DIFFERS  x is modified\n") == 1
    assert cli.main(["verify", "--study", "quick"]) == 0
    assert "pages" not in capsys.readouterr().out


def test_a_page_that_is_not_what_the_results_say_is_named(monkeypatch):
    from paper import readme

    monkeypatch.setattr(readme, "stale", lambda: ["README.md, claims"])
    assert verify.outdated() == ["README.md, claims is not what `lens readme` would write"]
