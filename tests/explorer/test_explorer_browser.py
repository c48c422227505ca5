"""The page in a real browser, on a small synthetic study whose text is hostile."""

import functools
import json
import pathlib

import numpy as np
import pandas as pd
import pytest

import lens
from lens.explorer import page as explorer
from lens.explorer.profiles import collect
from tests.explorer import synthetic
from tests.explorer.test_explorer_profiles import dictionary, given, profiled

WIDE, PHONE = (1280, 800), (360, 740)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    path = tmp_path_factory.mktemp("explorer") / "explorer.html"
    path.write_text(explorer.page([synthetic.study(), synthetic.encoder()]), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def tab(browser):
    """One tab for each size and colour scheme, with what it complained of, and what it fetched."""
    complaints, requests = [], []

    @functools.cache
    def kept(width: int, height: int, scheme: str):
        page = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme).new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        return page

    kept.complaints, kept.requests = complaints, requests
    return kept


@pytest.fixture
def opened(tab, url):
    """Load a place of the page; at the end nothing may have complained, been fetched, or been run from the text."""
    pages = []

    def at(place="", viewport=WIDE, scheme="light"):
        page = tab(*viewport, scheme)
        page.goto("about:blank")
        tab.requests.clear()
        page.goto(url + place)
        page.locator("#views a").first.wait_for()
        pages.append(page)
        return page

    yield at
    assert all(page.evaluate("window.hacked") is None for page in pages)
    assert tab.complaints == []
    assert {request.partition("#")[0] for request in tab.requests} == {url}


def follow(page, place: str) -> None:
    """Another place of a page that is open."""
    page.evaluate("(hash) => new Promise((done) => { location.hash = hash; setTimeout(done, 60); })", place)


def rows(page) -> list[int]:
    return page.evaluate("[...document.querySelectorAll('tbody [data-feature]')].map((a) => Number(a.dataset.feature))")


def test_opens_on_the_middle_layer_in_time(opened):
    page = opened()
    assert page.evaluate("performance.getEntriesByName('listed')[0].startTime") < 2000
    assert page.locator("#layer-1").is_checked()
    assert len(rows(page)) == synthetic.D
    assert "tiny-model, a stand-in · temporallens dictionary (relu + mask)" in page.locator("#what").inner_text()
    assert page.locator(".count").inner_text() == "24 features"


def test_search_by_number_token_and_text(opened):
    page = opened("#/tiny/1/features/0")
    for text in ("7", "#7", "feature 7", "Feature 7 "):
        page.fill("#search", text)
        assert rows(page) == [7]
    page.fill("#search", "window.hacked = true</script>")
    assert len(rows(page)) > 5
    page.fill("#search", "")
    assert len(rows(page)) == synthetic.D
    shown = page.locator(".lens .word").all_inner_texts()  # tokens as the card shows them
    assert {"·king", "↵"} <= set(shown)
    for word in set(shown):
        page.fill("#search", word)
        assert page.locator(".heading").first.inner_text().startswith("Peaking on it or promoting it")
    page.fill("#search", "·ing")
    assert rows(page) == []
    page.fill("#search", " ing ")
    assert len(rows(page)) > 0


def test_search_tells_strong_matches_from_the_rest(opened):
    page = opened()
    page.fill("#search", "·queen")
    lines = "[...document.querySelectorAll('.list tbody tr')].map((row) => row.dataset.row ?? row.innerText)"
    blocks = page.evaluate(lines)
    first, second = (i for i, text in enumerate(blocks) if not text.isdigit())
    assert first == 0 and blocks[0] == f"Peaking on it or promoting it {second - 1}"
    assert blocks[second] == f"More, with it nearby or suppressed {len(blocks) - second - 1}"
    promoting = {k for k in range(synthetic.D) if (synthetic.WORDS.index(" queen") - k) % len(synthetic.WORDS) < 4}
    assert promoting <= set(rows(page)[: second - 1])
    page.keyboard.press("Enter")
    for _ in range(second - 1):
        page.keyboard.press("j")
    assert page.locator("tr.current").get_attribute("data-row") == blocks[second + 1]


def test_search_without_a_match_says_so_and_is_cleared(opened):
    page = opened()
    page.fill("#search", "nothing of the kind")
    assert rows(page) == []
    assert "nothing matches" in page.locator(".count[role=status]").inner_text()
    page.get_by_role("button", name="Clear search").click()
    assert len(rows(page)) == synthetic.D and page.evaluate("document.activeElement.id") == "search"


def test_search_is_in_the_address(opened):
    page = opened()
    page.fill("#search", "·king / 100 %")
    page.fill("#search", "·sword")
    found = rows(page)
    page.locator(f"[data-row='{found[1]}']").click()
    page.get_by_role("link", name="Text", exact=True).click()
    page.locator("#text-title").wait_for()
    page.reload()
    page.get_by_role("link", name="Its card").click()
    page.locator(f"#card-title:has-text('Feature {found[1]} ')").wait_for()
    assert page.locator("#search").input_value() == "·sword" and rows(page) == found


def test_addresses_are_corrected(opened):
    wrong = ("tiny/1/features/999", "tiny/99/features/3", "tiny/1/constructor/", "other/1/text/3", "%E0%A4%A", "tiny")
    for place in wrong:
        page = opened(f"#/{place}")
        page.locator(f"#card-title:has-text('Feature {rows(page)[0]} ')").wait_for()
        page.wait_for_url(f"**#/tiny/1/features/{rows(page)[0]}")


def test_sort_and_filter(opened):
    page = opened()
    page.get_by_role("button", name="Fires, %", exact=True).click()
    assert page.locator("th.density").get_attribute("aria-sort") == "descending"
    shown = page.evaluate("[...document.querySelectorAll('td.density')].map((d) => parseFloat(d.textContent))")
    assert shown == sorted(shown, reverse=True) and len(shown) == synthetic.D
    page.get_by_text("Filters").click()
    page.get_by_label("Position test").select_option("1")
    assert set(rows(page)) >= set(range(12)) and len(rows(page)) < synthetic.D
    page.get_by_label("Fires, %, at most").fill("1")
    assert rows(page) == []
    page.get_by_role("button", name="Clear").click()
    assert len(rows(page)) == synthetic.D


def test_verdicts_are_shown_and_filtered_where_there_are_some(opened):
    page = opened("#/tiny/2/features/1")
    assert "Verdict on position\ninherits\nfrom features 0, 2" in page.locator(".numbers").inner_text()
    page.get_by_text("Filters").click()
    page.get_by_label("Verdict").select_option("specialised")
    assert set(rows(page)) == set(range(0, synthetic.D, 2))
    follow(page, "#/tiny/1/features/1")
    page.locator("#layer-1:checked").wait_for(state="attached")
    assert len(rows(page)) == synthetic.D  # a layer without verdicts keeps no filter of them
    assert "Verdict" not in page.locator(".numbers").inner_text()


def test_card_holds_what_it_promises(opened):
    page = opened("#/tiny/1/features/0")
    card = page.locator(".card")
    assert card.get_by_role("heading", level=2).inner_text().startswith("Feature 0")
    assert "leaves the null band" in page.locator("#chart-desc").text_content()
    assert card.locator("path.mask").count() == 1
    assert card.locator(".twins tbody tr").count() == 1 and "1.00" in card.locator(".twins").inner_text()
    assert card.locator(".lens li").count() == 8
    headings = card.locator(".bucket h4").all_inner_texts()
    assert [text.split(" fires")[0] for text in headings] == [f"Positions {x}" for x in ("1–3", "4–7", "8–31", "32–39")]
    assert card.locator("mark.peak").count() == 3 + 9 and "Never fires here." in card.inner_text()
    card.get_by_role("button", name="whole window").first.click()
    assert card.locator(".bucket li").first.locator(".token").count() == synthetic.T


def test_reading_the_chart_moves_nothing(opened):
    for viewport in (WIDE, PHONE):
        page = opened("#/tiny/1/features/0", viewport)
        below, chart = page.locator(".pair").first, page.locator(".profile svg")
        before = below.bounding_box()
        for share in (0.2, 0.5, 0.9):
            box = chart.bounding_box()
            page.mouse.move(box["x"] + share * box["width"], box["y"] + 50)
            assert page.locator(".readout").inner_text().startswith("t = ")
            assert below.bounding_box() == before


def test_hostile_text_is_text(opened):
    page = opened("#/tiny/1/text/0")
    assert synthetic.HOSTILE in page.locator(".text.long").inner_text()
    assert "<img src=x" in page.locator(".text.long").inner_text()
    assert page.locator("#view img, #view script, #view b").count() == 0
    assert "second <b>play</b>" in page.locator("#passage").inner_text()


def test_keyboard_alone(opened):
    page = opened()
    order = rows(page)

    def pressed(key: str, focused: str = "document.activeElement.id") -> str:
        page.keyboard.press(key)
        return page.evaluate(focused)

    feature = "document.activeElement.dataset.feature"
    pressed("j")
    assert pressed("ArrowDown", feature) == str(order[2])
    assert pressed("k", feature) == str(order[1])
    assert page.locator("tr.current").get_attribute("data-row") == str(order[1])
    assert page.locator("#card-title").inner_text().startswith(f"Feature {order[1]}")
    assert pressed("Enter") == "card-title"
    assert pressed("Escape", feature) == str(order[1])
    assert pressed("/") == "search"
    page.keyboard.type("5")
    assert pressed("Enter", feature) == "5"
    pressed("]")
    page.locator("h2 span", has_text="layer 2").wait_for()
    pressed("[")
    page.locator("h2 span", has_text="layer 1").wait_for()
    pressed("3")
    page.locator("#clusters-title").wait_for()
    assert page.evaluate("document.activeElement.id") == "clusters-title"
    pressed("?")
    page.get_by_label("Single keys are shortcuts").uncheck()
    page.get_by_role("button", name="Close").click()
    pressed("2")
    assert page.locator("body").get_attribute("data-view") == "clusters"


def test_layers_and_features_by_mouse_and_the_way_back(opened):
    page = opened()
    page.get_by_text("2", exact=True).first.click()
    page.locator("h2 span", has_text="layer 2").wait_for()
    assert page.locator("#layer-2").is_checked()
    assert page.evaluate("location.hash").startswith("#/tiny/2/features")
    page.locator("[data-row='3']").click()
    page.locator("[data-row='4']").click()
    page.go_back()
    page.locator("#card-title", has_text="Feature 3").wait_for()


def test_text_names_the_features_on_at_a_token(opened):
    page = opened("#/tiny/1/text/0")
    page.locator("[role=option][data-t='3']").click()
    assert "(t = 3)" in page.locator(".on h3").inner_text()
    page.keyboard.press("ArrowRight")
    assert "(t = 3)" in page.locator(".on h3").inner_text() or "(t = 4)" in page.locator(".on h3").inner_text()
    link = page.locator(".on a").first
    name = link.inner_text().split()[1]
    link.click()
    page.wait_for_url(f"**#/tiny/1/text/{name}")
    assert page.locator("#which").input_value() == name
    assert page.locator(".text.long .on").count() > 0


def test_clusters_and_their_features(opened):
    page = opened("#/tiny/1/clusters")
    assert page.locator(".groups li").count() >= 2
    assert "features; the last joint" in page.locator("#tree-desc").text_content()
    page.locator(".map canvas").click(position={"x": 20, "y": 3})
    page.locator("#card-title").wait_for()
    page.go_back()
    page.get_by_role("button", name="List its features").first.click()
    page.locator(".count").wait_for()
    assert 0 < len(rows(page)) < synthetic.D
    follow(page, "#/tiny/embedding/clusters")
    assert "This layer has no clusters" in page.locator(".clusters").inner_text()


def test_encoder_with_one_seed_says_what_it_lacks(opened):
    page = opened()
    page.locator("#study").select_option("encoder")
    page.locator("#what", has_text="standard dictionary").wait_for()
    assert page.locator("[name=layer]").count() == 1
    text = page.locator(".card").inner_text()
    assert "tiny-model is an encoder" in text and "trained with one seed" in text
    assert page.locator("path.mask").count() == 0
    follow(page, "#/encoder/2/about/1")
    assert "“standard”, which has no masks" in page.locator(".about").inner_text()


def test_phone_scrolls_one_way_only_and_shows_list_or_card(opened):
    page = opened(viewport=PHONE)
    assert page.locator(".list").is_visible() and not page.locator(".card").is_visible()
    page.locator("[data-row='3'] td").first.click()
    assert page.locator("#card-title").is_visible() and not page.locator(".list").is_visible()
    page.get_by_role("button", name="← List").click()
    assert page.locator(".list").is_visible()
    page.locator("[data-row='4'] td").first.click()
    page.go_back()
    page.locator(".list").wait_for()
    for place in ("features/", "features/0", "text/0", "clusters", "about"):
        follow(page, f"#/tiny/1/{place}")
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") == 0, place


def background(page) -> str:
    return page.evaluate("getComputedStyle(document.documentElement).backgroundColor")


def test_dark_follows_the_system_and_the_button(opened):
    light, dark = (opened(scheme=scheme) for scheme in ("light", "dark"))
    assert background(light) == "rgb(251, 250, 247)" and background(dark) == "rgb(21, 23, 26)"
    light.get_by_role("button", name="Switch to dark colours").click()
    assert background(light) == background(dark)


CONTRAST = """() => {
  const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour, under) => {
    for (canvas.fillStyle of [`rgb(${under})`, colour]) canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (c) => { const [r, g, b] = c.map(channel); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = (element) => {
    const under = element.parentElement ? behind(element.parentElement) : [255, 255, 255];
    return rgb(getComputedStyle(element).backgroundColor, under);
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !element.checkVisibility() || element.closest(".unseen, .skip, dialog, script, style")) continue;
    const style = getComputedStyle(element), under = behind(element);
    const ink = rgb(element instanceof SVGElement ? style.fill : style.color, under);
    const [a, b] = [light(ink), light(under)].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) found.push([element.outerHTML.slice(0, 80), ink, under]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(opened, scheme):
    page = opened(scheme=scheme)
    for view in ("features/0", "text/0", "clusters", "about"):
        follow(page, f"#/tiny/1/{view}")
        assert page.evaluate(CONTRAST) == [], view


NAMELESS = """[...document.querySelectorAll("button, input, select, a, [role=img], [role=listbox]")].filter(
    (e) => !(e.textContent.trim() || e.labels?.length || e.matches("[aria-label], [aria-labelledby]"))
).map((e) => e.outerHTML)"""


def test_controls_and_pictures_have_names(opened):
    page = opened()
    for place in ("#/tiny/1/features/0", "#/tiny/1/text/0", "#/tiny/1/clusters"):
        follow(page, place)
        assert page.evaluate(NAMELESS) == []
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
        assert len(ids) == len(set(ids))


@pytest.fixture(scope="module")
def profiles_url(tmp_path_factory):
    """Two dictionaries side by side, from their profiles."""
    path = tmp_path_factory.mktemp("profiles") / "profiles.html"
    found = collect({name: profiled(dictionary(seed, name)) for seed, name in enumerate(("first", "second"))})
    path.write_text(explorer.page(found), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def profiles_page(tab, profiles_url):
    tab.complaints.clear()
    page = tab(*WIDE, "light")
    page.goto("about:blank")
    page.goto(profiles_url)
    page.locator("#views a").first.wait_for()
    yield page
    assert tab.complaints == [] and page.evaluate("window.hacked") is None


def test_a_profile_shows_what_it_has_and_silent_features_apart(profiles_page):
    page = profiles_page
    assert page.locator("#views a").all_inner_texts() == ["Features", "Text", "About"]
    assert "first dictionary (relu)" in page.locator("#what").inner_text()
    assert page.locator(".list thead th").all_inner_texts()[-1] == "Twins"
    last = page.evaluate(
        "[...document.querySelectorAll('.list tbody tr')].slice(-2).map((r) => r.dataset.row ?? r.innerText)"
    )
    assert last == ["Never fire on this text 1", "7"]
    titles = page.locator(".card h3").all_inner_texts()
    assert titles[-2:] == ["Strongest contexts", "Strongest contexts, by position"]
    assert {"Neighbours in this dictionary", "How strongly it fires", "Twins in other dictionaries"} <= set(titles)
    page.keyboard.press("3")
    page.locator(".compared").wait_for()
    assert page.locator(".compared tbody th").all_inner_texts() == ["first robots", "second robots"]


def test_profiles_fit_a_phone(tab, profiles_url):
    page = tab(*PHONE, "dark")
    for place in ("", "#/second/given/features/0", "#/second/given/about"):
        page.goto("about:blank")
        page.goto(profiles_url + place)
        page.locator("#views a").first.wait_for()
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0], place


def test_a_twin_leads_into_the_other_dictionary(profiles_page):
    page = profiles_page
    page.locator(".twins a").first.click()
    page.wait_for_function("document.getElementById('study').value === 'second'")
    page.locator(".neighbours a").first.click()
    assert "Feature" in page.locator("#card-title").inner_text()


def test_a_feature_and_the_list_leave_as_files(profiles_page):
    page = profiles_page
    with page.expect_download() as got:
        page.get_by_role("button", name="JSON", exact=True).click()
    feature = json.loads(pathlib.Path(got.value.path()).read_text())
    k = int(feature["index"])
    assert got.value.suggested_filename == f"first-given-{k}.json" and feature["modelId"] == "robots"
    assert max(a["maxValue"] for a in feature["activations"]) == pytest.approx(feature["maxActApprox"])
    for a in feature["activations"]:
        assert len(a["tokens"]) == len(a["values"]) and max(a["values"]) <= feature["maxActApprox"] + 1e-6
        low, high = a["positions"]
        assert low <= a["maxValueTokenIndex"] <= high
    assert sum(feature["freq_hist_data_bar_heights"]) > 0 and len(feature["position"]["rates"]) == 15
    with page.expect_download() as got:
        page.get_by_role("button", name="CSV").click()
    table = pd.read_csv(got.value.path())
    assert sorted(table["feature"]) == list(range(8)) and table["density"].iloc[-1] == 0


def test_clocks_are_columns_and_lines_of_the_card(tab, tmp_path):
    turn = np.tile(np.arange(16) % 5, (48, 1))
    activations = given()
    activations.clocks["turn"] = turn
    found = lens.profile(dictionary(0, "first"), activations, permutations=40, contexts=1)
    path = tmp_path / "explorer.html"
    path.write_text(explorer.page(collect({"a": found})), encoding="utf-8")
    for size in (WIDE, PHONE):
        page = tab(*size, "light")
        page.goto(path.as_uri())
        page.locator("#views a").first.wait_for()
        heads = page.locator(".list thead th").all_inner_texts()
        assert heads[heads.index("Info") + 1] == "Since turn"
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    page = tab(*WIDE, "light")
    page.get_by_role("button", name="Since turn").click()
    values = [
        float(v.replace("−", "-")) for v in page.locator("td.since_turn_information").all_inner_texts() if v != "–"
    ]
    assert values[:-1] == sorted(values[:-1], reverse=True) and len(values) > 3
    assert page.locator(".numbers").inner_text().count("Since turn, U") == 1
    assert tab.complaints == []
