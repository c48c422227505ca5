"""Executed notebooks that are identical, byte by byte, whenever two runs computed the same thing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from nbformat import NotebookNode

KEPT_CELL_METADATA = ("tags", "jupyter")
_WIDGET = "application/vnd.jupyter.widget-view+json"
_FORBIDDEN = {
    "a memory address": re.compile(r"\b0x[0-9a-fA-F]{6,}"),
    "a time stamp": re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d"),
    "an absolute path": re.compile(
        r"(?<![\w.:/<-])/(?:home|root|Users|tmp|var|usr|opt|mnt|srv|private|content)/\w|\b[A-Z]:\\Users\\"
    ),
}
_EMBEDDED = re.compile(r"data:[\w/+.-]+;base64,[A-Za-z0-9+/=\s]+")


class UnstableOutput(ValueError):
    """An output that would differ from run to run or from machine to machine."""


def canonical(notebook: NotebookNode, local_paths: tuple[str, ...] = ()) -> str:
    """The text of an executed notebook without anything that depends on when or where it ran.

    Run times, execution metadata, standard error and widgets (progress bars) are dropped, cell ids are renumbered, and
    neighbouring pieces of standard output are joined: how they were cut depends on timing.

    Args:
        notebook: the executed notebook; left as it is.
        local_paths: folders of this machine that must not appear in any output.

    Raises:
        UnstableOutput: an output shows a memory address, a time stamp or an absolute path.
    """
    cells = [_cell(cell, f"c{index:03d}") for index, cell in enumerate(notebook.cells)]
    for index, cell in enumerate(cells):
        for text in _texts(cell.get("outputs", [])):
            _refuse_unstable(text, f"cell {index} ({_first_line(cell)})", local_paths)
    language = {k: v for k, v in notebook.metadata.get("language_info", {}).items() if k != "version"}
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": language,
    }
    content = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _cell(cell: NotebookNode, identifier: str) -> dict:
    plain = {
        "id": identifier,
        "cell_type": cell.cell_type,
        "metadata": {k: cell.metadata[k] for k in KEPT_CELL_METADATA if k in cell.metadata},
        "source": cell.source.splitlines(keepends=True),
    }
    if cell.cell_type == "code":
        plain |= {"execution_count": cell.execution_count, "outputs": _outputs(cell.outputs)}
    return plain


def _outputs(outputs: list[NotebookNode]) -> list[dict]:
    kept: list[dict] = []
    for output in outputs:
        output = json.loads(json.dumps(output))
        if output["output_type"] == "stream":
            if output["name"] == "stderr":  # progress bars and warnings: shown while running, no result
                continue
            if kept and kept[-1]["output_type"] == "stream":
                kept[-1]["text"] += output["text"]
                continue
        if _WIDGET in output.get("data", {}):
            continue
        kept.append(output)
    return kept


def _texts(outputs: list[dict]) -> Iterator[str]:
    for output in outputs:
        if output["output_type"] == "stream":
            yield output["text"]
        for kind, value in output.get("data", {}).items():
            if not kind.startswith("image/") or kind == "image/svg+xml":
                yield value if isinstance(value, str) else json.dumps(value)


def _refuse_unstable(text: str, where: str, local_paths: tuple[str, ...]) -> None:
    text = _EMBEDDED.sub("", text)
    for path in local_paths:
        if re.search(re.escape(path) + r"(?![\w-])", text):
            raise UnstableOutput(
                f"{where} shows a folder of this machine, {path!r}: print paths from the project's top"
            )
    for what, pattern in _FORBIDDEN.items():
        if found := pattern.search(text):
            near = text[max(0, found.start() - 20) : found.end() + 40]
            raise UnstableOutput(f"{where} shows {what}, which differs from run to run: ...{near}...")


def _first_line(cell: dict) -> str:
    return next((line.strip() for line in cell["source"] if line.strip()), "empty")
