import socket
import threading

import huggingface_hub
import pytest

from lens.activations import corpus, models, on_hub
from lens.activations.on_hub import check_on_hub, fetched, near


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """A hub that is on line and answers with what a test puts first into the list; then, the names asked for."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port: [])
    answers = []

    def repo_info(self, name, repo_type, timeout):
        answer = answers.pop(0)
        answers.append(name)
        if isinstance(answer, Exception):
            raise answer

    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", repo_info)
    return answers


class ConnectError(Exception):
    pass


class ConnectTimeout(Exception):
    pass


class ReadTimeout(Exception):
    pass


def fetch(cache, *names):
    for name in names:
        (cache / name / "snapshots" / "0123").mkdir(parents=True)


def test_a_misspelt_name_fails_before_transformers_asks_and_asks_again(asked, monkeypatch):
    monkeypatch.setattr(models, "_open", lambda *a: pytest.fail("transformers was asked"))
    for answer, reason in (
        (ConnectError("Name or service not known"), "the model hub cannot be reached: Name or service not known"),
        (ConnectTimeout(), "the model hub cannot be reached: ConnectTimeout"),
        (OSError("404 Client Error: Repository Not Found"), "404 Client Error"),
    ):
        asked[:] = [answer]
        with pytest.raises(OSError, match=f"'gemma-3-270n' could not be opened .did you mean 'gemma-3-270m'.*{reason}"):
            models.load("gemma-3-270n")
        assert asked == ["gemma-3-270n"]


def test_a_misspelt_data_set_is_asked_for_once(asked, monkeypatch):
    monkeypatch.setattr(corpus.datasets, "load_dataset", lambda *a, **b: pytest.fail("datasets was asked"))
    asked[:] = [OSError("404 Client Error: Repository Not Found")]
    with pytest.raises(FileNotFoundError, match=r"'pandas-dosc' \(did you mean 'pandas-docs'\?\).*404 Client Error"):
        corpus.load("pandas-dosc")
    assert asked == ["pandas-dosc"]


def test_a_resolver_that_never_answers_is_not_waited_for(asked, monkeypatch):
    end = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port: end.wait(60))
    monkeypatch.setattr(on_hub, "CONNECT", 0.01)
    try:
        with pytest.raises(OSError, match=r"no address of huggingface\.co within"):
            check_on_hub("somebody/model")
    finally:
        end.set()
    assert asked == []


def test_a_host_without_an_address_is_said(asked, monkeypatch):
    def unknown(host, port):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(OSError, match="cannot be reached: huggingface.co: .*Name or service not known"):
        check_on_hub("somebody/model")
    assert asked == []
    monkeypatch.setattr(on_hub.urllib.request, "getproxies", lambda: {"https": "http://proxy"})
    asked[:] = [None]
    check_on_hub("somebody/model")  # a proxy looks it up
    assert asked == ["somebody/model"]


@pytest.mark.parametrize("name", ["./here", "~/none/here", "/no/such/place", "models/of/mine", "../x", "models/"])
def test_what_can_only_be_a_path_is_not_asked_for(name, asked):
    for kind in ("model", "dataset"):
        with pytest.raises(OSError, match="there is no folder"):
            check_on_hub(name, kind)
    with pytest.raises(OSError, match="could not be opened.*there is no folder"):
        models.load(name)
    assert asked == []


def test_a_slow_hub_is_asked_for_the_files_all_the_same(asked):
    asked[:] = [ReadTimeout("late")]
    check_on_hub("somebody/model")
    asked[:] = [None]
    check_on_hub("somebody/model")


def test_local_folders_and_what_was_fetched_before_ask_nobody(asked, tmp_path):
    check_on_hub(str(tmp_path))
    fetch(tmp_path / "cache", "models--somebody--model", "datasets--somebody--text")
    check_on_hub("somebody/model")
    check_on_hub("somebody/text", "dataset")
    assert asked == []
    for name, kind in (("somebody/model", "dataset"), ("somebody/text", "model")):
        asked[:] = [OSError("404")]
        with pytest.raises(OSError, match="404"):
            check_on_hub(name, kind)


def test_names_that_come_close_are_known_fetched_or_beside_the_path(asked, tmp_path, monkeypatch):
    fetch(tmp_path / "cache", "models--somebody--model", "models--gpt2", "datasets--somebody--modelling")
    (tmp_path / "cache" / "models--half--way").mkdir()
    assert fetched() == ["gpt2", "somebody/model"]
    assert near("somebody/modle", ()) == " (did you mean 'somebody/model'?)"
    assert near("gtp2", ()) == " (did you mean 'gpt2'?)"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scratch" / "mine").mkdir(parents=True)
    for name in ("scratch/mien", "./scratch/mien", f"{tmp_path}/scratch/mien"):
        assert near(name, ()) == f" (did you mean 'mine' in {name.removesuffix('/mien')}?)"
    assert near("elsewhere/entirely", ["gemma"]) == ""
