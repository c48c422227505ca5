"""A clone that fits: what git holds of the results, and how large it all is."""

import subprocess

import pytest

from lens import checkout

MOST = 20_000_000  # bytes
PAGES = {"results/full/explorer.html"}
KEPT_WHOLE = {"full", "quick", "quick-headroom", "quick-rivals", "rivals", "headroom", "dark_position", "leak"}


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    if not (checkout.root() / ".git").exists():
        pytest.skip("NOT CHECKED: not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=checkout.root(), capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name]


def test_all_tracked_files_together_are_small(tracked):
    paths = [checkout.root() / name for name in tracked]
    sizes = {path: path.lstat().st_size for path in paths if path.exists()}
    assert sum(sizes.values()) <= MOST, sorted(sizes, key=sizes.get)[-10:]


def test_only_the_explorer_of_full_is_a_page_and_other_studies_keep_verdicts_and_summaries(tracked):
    results = [name for name in tracked if name.startswith(("results/", "docs/"))]
    assert {name for name in results if name.endswith(".html")} <= PAGES
    studies = {name.split("/")[1] for name in results if name.count("/") > 1} - {"benchmarks"} - KEPT_WHOLE
    for study in studies:
        kept = {name.split("/", 2)[2] for name in results if name.startswith(f"results/{study}/")}
        assert kept <= {"claims.json", "summary.parquet"}, study
