"""What a pipeline puts before a text: none, one or two BOS, and what a chat template makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lens.auditing.findings import Finding
from lens.auditing.sources import Source

_TURNS = [{"role": "user", "content": "How are you?"}]
_SHOWN = 6  # ids


def beginning(source: Source, tokenizer: Any, text: str, wanted: bool | None) -> Finding:
    """BOS stands at t = 0, once, and nowhere else. `wanted`: whether the dictionary was trained with it, if known."""
    ids, bos = source.tokens(text), tokenizer.bos_token_id
    numbers = {"first_ids": " ".join(map(str, ids[:_SHOWN]))}
    if bos is None:
        return Finding("bos", "pass", "the tokenizer has no BOS: position 0 holds the first token of the text", numbers)
    leading, rest = _leading(ids, bos), ids.count(bos)
    numbers |= {"bos": leading, "bos_in_all": rest}
    if leading > 1 or rest > leading:
        where = f"{leading} BOS at the start" if leading > 1 else f"BOS inside the text ({rest - leading} times)"
        return Finding("bos", "fail", f"{where}: each token after it counts one position too many", numbers)
    if wanted is not None and wanted != bool(leading):
        was, here = ("with", "without") if wanted else ("without", "with")
        return Finding("bos", "fail", f"the dictionary was trained {was} BOS, this pipeline reads {here} it", numbers)
    if leading:
        return Finding("bos", "pass", "BOS at t = 0, once", numbers)
    advice = "the tokenizer has a BOS, and the pipeline doesn't put it first: position 0 holds the first token"
    return Finding("bos", "trap", advice, numbers)


def second_bos(source: Source, tokenizer: Any, text: str) -> Finding:
    """What becomes of a text that begins with BOS already, as those do that come from a chat template."""
    bos = tokenizer.bos_token_id
    if not isinstance(bos, int):
        return Finding("second bos", "untested", "the tokenizer has no BOS")
    n = _leading(source.tokens(f"{tokenizer.bos_token}{text}"), bos)
    if n > 1:
        advice = (
            "a text that begins with BOS (from a chat template, say) gets a second one, and all its tokens move by one "
            "position: tokenise such a text with add_special_tokens=False"
        )
        return Finding("second bos", "trap", advice, {"bos": n})
    return Finding("second bos", "pass", "a text that begins with BOS gets no second one", {"bos": n})


def chat(source: Source, tokenizer: Any) -> Finding:
    """A chat template's own ids against the ids of the text that it makes."""
    if not getattr(tokenizer, "chat_template", None):
        return Finding("chat template", "untested", "the tokenizer has none")
    text = tokenizer.apply_chat_template(_TURNS, tokenize=False)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    own, bos = source.tokens(text), tokenizer.bos_token_id
    moved = next((i for i in range(len(own)) if own[i:] == ids), None)
    inside = ids.count(bos) - _leading(ids, bos)
    numbers = {"template_bos": ids.count(bos), "moved": -1 if moved is None else moved}
    if inside:
        return Finding("chat template", "fail", f"the template writes BOS inside the chat ({inside} times)", numbers)
    if moved is None:
        return Finding("chat template", "fail", "the pipeline reads the template's text as other tokens", numbers)
    if moved and _leading(own, bos) > 1:
        advice = "its text already has BOS, the pipeline adds another: add_special_tokens=False"
        return Finding("chat template", "trap", advice, numbers)
    return Finding("chat template", "pass", "its text is read as the tokens that it stands for", numbers)


def _leading(ids: Sequence[int], bos: int | None) -> int:
    """How many BOS come first."""
    return next((i for i, token in enumerate(ids) if token != bos), len(ids))
