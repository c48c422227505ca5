import huggingface_hub
import pytest

from lens.activations import language_model
from lens.activations.on_hub import check_on_hub


@pytest.fixture
def asked(monkeypatch):
    """A hub that is on line and answers with what a test puts first into the list; then, the names asked for."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    answers = []

    def model_info(self, name, timeout):
        answer = answers.pop(0)
        answers.append(name)
        if isinstance(answer, Exception):
            raise answer

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    return answers


class ConnectError(Exception):
    pass


class ReadTimeout(Exception):
    pass


def test_a_misspelt_name_fails_before_transformers_asks_and_asks_again(asked, monkeypatch):
    monkeypatch.setattr(language_model, "_open", lambda *a: pytest.fail("transformers was asked"))
    for answer, reason in (
        (ConnectError("Name or service not known"), "the model hub cannot be reached: Name or service not known"),
        (OSError("404 Client Error: Repository Not Found"), "404 Client Error"),
    ):
        asked[:] = [answer]
        with pytest.raises(OSError, match=f"'gemma-3-270n' could not be opened .did you mean 'gemma-3-270m'.*{reason}"):
            language_model.load("gemma-3-270n")
        assert asked == ["gemma-3-270n"]


def test_a_slow_hub_is_asked_for_the_files_all_the_same(asked):
    asked[:] = [ReadTimeout("late")]
    check_on_hub("somebody/model")
    asked[:] = [None]
    check_on_hub("somebody/model")


def test_local_folders_and_what_was_fetched_before_ask_nobody(asked, tmp_path, monkeypatch):
    check_on_hub(str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda name, file: f"/cache/{name}/{file}")
    check_on_hub("somebody/model")
    assert asked == []
