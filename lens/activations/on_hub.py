"""Is a model where its name says? Asked of the hub once: `transformers` asks six times, over half a minute."""

from __future__ import annotations

import os

import huggingface_hub
from huggingface_hub import constants

SLOW = 10  # seconds after which a hub that does not answer may still do so when the files are asked for


def check_on_hub(name: str) -> None:
    """Raise OSError, with the reason, unless the name is that of a local folder, of a model that was fetched before, or
    of one on the hub.

    Raises:
        OSError: the hub cannot be reached, or has no such model.
        ValueError: the name is no path and no id.
    """
    if os.path.exists(name) or constants.HF_HUB_OFFLINE:  # offline, what is not here is missed at once
        return
    if isinstance(huggingface_hub.try_to_load_from_cache(name, "config.json"), str):
        return
    try:
        huggingface_hub.HfApi().model_info(name, timeout=SLOW)
    except OSError:
        raise
    except Exception as error:  # of the client's transport, which differs between versions
        if "Timeout" in type(error).__name__:
            return
        raise OSError(f"the model hub cannot be reached: {error}") from error
