"""Own text in the explorer: the numbers are the library's, and nobody else's page gets any."""

import dataclasses
import json
import threading
from http.client import HTTPConnection

import numpy as np
import pytest
import torch

import lens
from lens.activations import models
from lens.activations.corpus import token_ids
from lens.cli import main
from lens.explorer.serve import LARGEST, server_of
from lens.profiling.own_text import TextError, reader_of
from lens.profiling.position_profile import PositionProfile, ProfileError
from tests.explorer.test_explorer_accessible import AXE, FOUND, PHONE, WIDE
from tests.making import info

MODEL, T, D, LAYER = "random:gemma-3-tiny", 24, 32, 1
TEXT = "To be, or <not>\nto be"


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    """Two profiles of one model: of a dictionary with a mask and a scaled, centred input, and of one without."""
    folder, found = tmp_path_factory.mktemp("own"), {}
    rng = np.random.default_rng(0)
    documents = ["".join(rng.choice(list("abcdefghij \n"), 600)) for _ in range(4)]
    for seed, masked in enumerate((True, False)):
        name = "masked" if masked else "plain"
        settings = info(D, 40, T, masked, scale=0.5, layer=str(LAYER), model=MODEL, name=name)
        sae = lens.Dictionary.initialise(
            settings if masked else dataclasses.replace(settings, n_positions=None), torch.full((D,), 0.1), seed
        )
        sae.save(folder / name)
        options = {"windows": 32, "length": T, "fidelity": 0, "permutations": 40, "contexts": 1}
        found[name] = str(lens.profile(folder / name, MODEL, documents, **options).save(folder / f"{name}-profile"))
    return found


@pytest.fixture(scope="module")
def address(folders):
    server = server_of(list(folders.values()))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address
    server.shutdown()
    server.server_close()
    thread.join()


def asked(address, said, *, path="/read", **headers) -> tuple[int, dict]:
    """The server's answer to a page of its own, unless headers say otherwise; None leaves one out."""
    at = f"{address[0]}:{address[1]}"
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    given = {"Host": at, "Origin": f"http://{at}", "Content-Length": str(len(body)), **headers}
    connection = HTTPConnection(*address, timeout=60)
    connection.putrequest("POST", path, skip_host=True)
    for name, value in given.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders(body)
    answer = connection.getresponse()
    found = answer.status, json.loads(answer.read())
    connection.close()
    return found


@pytest.mark.parametrize("name", ["masked", "plain"])
def test_numbers_are_those_of_encode(address, folders, name):
    about = PositionProfile.read(folders[name]).about
    sae, model = lens.load(about.dictionary), models.load(MODEL)
    tokens = torch.tensor([[model.bos_id, *model.tokenizer.encode(TEXT, add_special_tokens=False)]])
    expected = sae.encode(model.residual_stream(tokens, [LAYER])[LAYER].float()).dense()[0].detach().numpy()
    status, found = asked(address, {"study": name, "layer": "1", "text": TEXT})
    assert status == 200 and len(found["words"]) == len(found["on"]) == tokens.shape[1]
    assert "".join(found["words"][1:]) == TEXT
    assert found["on"][0] == {"features": [], "strengths": []}  # position 0 is left out, as in a profile
    for t in range(1, tokens.shape[1]):
        assert found["on"][t]["features"] == np.flatnonzero(expected[t]).tolist()
        assert found["on"][t]["strengths"] == pytest.approx(expected[t][expected[t] != 0], rel=1e-4)
    assert (expected[1:] != 0).any()


def test_a_window_of_the_profile_is_read_as_the_profile_read_it(folders):
    profile = PositionProfile.read(folders["masked"])
    reading, text = profile.shown.reading.arrays, profile.shown.text
    words = [text.words[i] for i in text.arrays["tokens"][text.passages[0]]]
    again = reader_of(profile).read("".join(words[1:]))
    assert again.words == words
    levels = 63 * again.strengths_TK[1:].T / reading["highest"][:, None].clip(1e-9)
    assert np.abs(levels - reading["passage_activation"][0]).max() <= 1.5  # rounded, and bf16 in another batch
    assert (reading["passage_activation"][0] > 0).any()


def test_a_special_token_in_a_text_is_plain_characters():
    tokenizer = models.load(MODEL).tokenizer
    assert token_ids("ab", tokenizer) == tokenizer.encode("ab", add_special_tokens=False)
    assert tokenizer.bos_token_id not in token_ids(f"a{tokenizer.bos_token}b", tokenizer)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://elsewhere.org"},
        {"Origin": "null"},
        {"Origin": None},
        {"Host": "elsewhere.org"},
        {"Host": "elsewhere.org", "Origin": "http://elsewhere.org"},  # a name that was pointed at this machine
    ],
)
def test_another_page_is_refused(address, headers):
    status, found = asked(address, {"study": "plain", "layer": "1", "text": TEXT}, **headers)
    assert status == 403 and set(found) == {"error"}


def test_the_page_is_not_shown_under_another_name(address):
    for host, expected in (
        (f"localhost:{address[1]}", 200),
        ("elsewhere.org", 403),
        (f"elsewhere.org:{address[1]}", 403),
    ):
        connection = HTTPConnection(*address, timeout=60)
        connection.request("GET", "/", headers={"Host": host})
        assert connection.getresponse().status == expected
        connection.close()
    assert address[0] == "127.0.0.1"


@pytest.mark.parametrize(
    "said, status, message",
    [
        ({"study": "masked", "layer": "1", "text": " \n"}, 422, "empty"),
        (
            {"study": "masked", "layer": "1", "text": "a" * T},
            422,
            f"has {T} tokens, there are positions for {T - 1}: shorten it",
        ),
        ({"study": "masked", "layer": "1", "text": "a" * (T - 1)}, 200, None),
        ({"study": "another", "layer": "1", "text": "a"}, 400, "masked with layer 1, plain with layer 1"),
        ({"study": "masked", "layer": "2", "text": "a"}, 400, "masked with layer 1, plain"),
        ({"study": "masked", "text": "a"}, 400, "masked with layer 1, plain"),
        ({"study": "masked", "layer": "1", "text": 3}, 400, "text"),
        ({"study": ["masked"], "layer": "1", "text": "a"}, 400, "masked with layer 1, plain"),
        (b"not JSON", 400, "masked with"),
        (b"3", 400, "masked with"),
        (b'{"text": "\xff"}', 400, "masked with"),
    ],
)
def test_what_cannot_be_read_is_said(address, said, status, message):
    found = asked(address, said)
    assert found[0] == status
    assert message is None or message in found[1]["error"]


def test_requests_without_an_end_or_a_length_are_refused(address):
    assert asked(address, b"", **{"Content-Length": str(LARGEST + 1)})[0] == 413
    assert asked(address, b"", **{"Content-Length": "-1"})[0] == 411
    assert asked(address, b"", **{"Content-Length": None})[0] == 411
    assert asked(address, {"study": "plain", "layer": "1", "text": "a"}, path="/")[0] == 404


def test_profiles_that_no_text_can_be_read_for(folders, tmp_path):
    profile = PositionProfile.read(folders["plain"])

    def changed(**about):
        return dataclasses.replace(profile, about=dataclasses.replace(profile.about, **about))

    with pytest.raises(ProfileError, match="given activations"):
        reader_of(changed(given=True))
    with pytest.raises(ProfileError, match="which the profile names"):
        reader_of(changed(dictionary=str(tmp_path / "none")))
    with pytest.raises(ProfileError, match="which the profile names"):
        reader_of(changed(model="random:none"))
    other = PositionProfile.read(folders["masked"]).about.dictionary
    with pytest.raises(ProfileError, match="another dictionary than was profiled"):
        reader_of(changed(dictionary=other))
    with pytest.raises(TextError, match="1,024 tokens, there are positions for 1,023"):
        reader_of(profile).read("a" * 1024)


def test_the_command_says_what_does_not_go_together(folders, address, capsys):
    [first, second] = folders.values()
    for words, message in (
        ([first, "--serve", "--study", "quick"], "one or the other"),
        ([first, "--serve", "--out", "x.html"], "writes no file"),
        ([first, "--out", "x.html", "--port", "1"], "go with --serve"),
        ([first, second, "--serve", "--port", str(address[1])], f"port {address[1]} can't be used"),
    ):
        assert main(["explore", *words]) == 1
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("size, scheme", [(WIDE, "light"), (PHONE, "dark")], ids=["wide", "phone"])
def test_in_a_browser_by_keyboard(browser, address, size, scheme):
    context = browser.new_context(viewport=size, color_scheme=scheme)
    page, complaints = context.new_page(), []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(f"http://{address[0]}:{address[1]}/#/masked/1/own/0")
    page.locator("#own").focus()
    page.keyboard.type(TEXT)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator(".long [role=option]").first.wait_for()
    assert page.evaluate("document.activeElement.id") == "read-own"
    status, expected = asked(address, {"study": "masked", "layer": "1", "text": TEXT})
    assert page.locator(".long [role=option]").count() == len(expected["words"]) - 1
    page.locator(".long [aria-selected=true]").focus()
    page.keyboard.press("ArrowRight")
    assert "(t = 2)" in page.locator(".on h3").inner_text()
    on = expected["on"][2]["features"]
    assert page.locator(".on .note").inner_text().startswith(f"{len(on)} features are on")
    feature = int(page.locator(".on a").first.inner_text().split()[1])
    assert feature in on
    page.locator(".on a").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/own/{feature}")
    coloured = page.evaluate("[...document.querySelectorAll('.long .token.on')].map((e) => Number(e.dataset.t))")
    assert coloured == [t for t, here in enumerate(expected["on"]) if feature in here["features"]]
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    if AXE.exists():
        page.evaluate(AXE.read_text(encoding="utf-8"))
        assert page.evaluate(FOUND) == []
    assert complaints == []
    page.locator("#own").fill("a" * T)
    page.get_by_role("button", name="Read it").click()
    page.locator("#own-said", has_text="shorten it").wait_for()
    assert page.locator(".long").count() == 0
    context.close()
