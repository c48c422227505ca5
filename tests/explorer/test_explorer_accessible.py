"""No violation that axe-core finds: in every view, wide and on a phone, light and dark."""

import pytest

from lens.explorer import page as explorer
from lens.explorer.profiles import collect
from tests.explorer import synthetic
from tests.explorer.test_explorer_profiles import dictionary, profiled

AXE = explorer.FOLDER.parents[1] / "tests/explorer/node_modules/axe-core/axe.min.js"
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PLACES = {  # of a page: the views, and what is done before looking
    "study": ("/tiny/1/features/", "/tiny/2/features/1", "/tiny/1/text/0", "/tiny/1/clusters", "/tiny/1/about"),
    "profiles": ("/first/given/features/0", "/first/given/about"),  # the last compares dictionaries
}
FOUND = """async () => (await axe.run()).violations.flatMap(({ id, nodes }) =>
    nodes.map((node) => `${id}: ${node.html.slice(0, 120)} ${node.failureSummary}`))"""

pytestmark = pytest.mark.skipif(not AXE.exists(), reason="NOT CHECKED: needs axe-core (make scripts)")


@pytest.fixture(scope="module")
def urls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("accessible")
    profiles = collect({name: profiled(dictionary(seed, name)) for seed, name in enumerate(("first", "second"))})
    for name, data in (("study", [synthetic.study(), synthetic.encoder()]), ("profiles", profiles)):
        (folder / name).with_suffix(".html").write_text(explorer.page(data), encoding="utf-8")
    return {name: (folder / name).with_suffix(".html").as_uri() for name in PLACES}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_axe_finds_nothing(browser, urls, size, scheme):
    page = browser.new_context(viewport=size, color_scheme=scheme).new_page()
    found = {}
    for name, places in PLACES.items():
        for place in places:
            page.goto("about:blank")
            page.goto(f"{urls[name]}#{place}")
            page.locator("#views a").first.wait_for()
            page.evaluate(AXE.read_text(encoding="utf-8"))
            found[place] = page.evaluate(FOUND)
            if "features" in place and page.locator(".finder summary").is_visible():
                page.locator(".finder summary").click()
                found[f"{place} filters"] = page.evaluate(FOUND)
    page.keyboard.press("?")
    page.locator("#help[open]").wait_for()
    found["help"] = page.evaluate(FOUND)
    page.context.close()
    said = [f"{place}: {what}" for place, violations in found.items() for what in violations]
    assert not said, "\n".join(said)
