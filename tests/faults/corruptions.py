"""What can happen to a file: each function changes the file at `path` and nothing else; `rng` chooses where."""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

Corruption = Callable[[Path, random.Random], None]


def _rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    """In place, so that what is linked to the file is damaged as well, as a disk would do it."""
    content = path.read_bytes()
    with open(path, "r+b") as file:
        file.write(changed := change(content))
        file.truncate(len(changed))


def _flip(path: Path, rng: random.Random, places: Callable[[int], range]) -> None:
    def change(content: bytes) -> bytes:
        damaged = bytearray(content)
        damaged[rng.choice(places(len(content)))] ^= 1 << rng.randrange(8)
        return bytes(damaged)

    _rewrite(path, change)


def flipped_bit(path: Path, rng: random.Random) -> None:
    _flip(path, rng, range)


def flipped_bit_at_the_start(path: Path, rng: random.Random) -> None:
    _flip(path, rng, lambda size: range(16))


def flipped_bit_at_the_end(path: Path, rng: random.Random) -> None:
    _flip(path, rng, lambda size: range(size - 16, size))


def truncated(path: Path, rng: random.Random) -> None:
    _rewrite(path, lambda content: content[: rng.randrange(1, len(content))])


def cut_after_a_line(path: Path, rng: random.Random) -> None:
    """What is left can be a whole file of its own."""

    def change(content: bytes) -> bytes:
        lines = content.splitlines(keepends=True)
        return b"".join(lines[: rng.randrange(1, len(lines))]) if len(lines) > 1 else b""

    _rewrite(path, change)


def emptied(path: Path, rng: random.Random) -> None:
    _rewrite(path, lambda content: b"")


def zeros(path: Path, rng: random.Random) -> None:
    """The size is right: what a crash of the machine leaves of a file that was not yet on disk."""
    _rewrite(path, lambda content: bytes(len(content)))


def deleted(path: Path, rng: random.Random) -> None:
    path.unlink()


def changed_digit(path: Path, rng: random.Random) -> None:
    def change(content: bytes) -> bytes:
        if not (places := [m.start() for m in re.finditer(rb"\d", content)]):
            return content + b"7"  # a table with a head alone
        found = rng.choice(places)
        other = str((int(content[found : found + 1]) + rng.randrange(1, 9)) % 10).encode()
        return content[:found] + other + content[found + 1 :]

    _rewrite(path, change)


def text_instead(path: Path, rng: random.Random) -> None:
    _rewrite(path, lambda content: b"<html><body>502 Bad Gateway</body></html>\n")


def bytes_that_are_no_text(path: Path, rng: random.Random) -> None:
    _rewrite(path, lambda content: b"\xff\xfe\x00" + content)


def json_of_another_kind(path: Path, rng: random.Random) -> None:
    _rewrite(path, lambda content: rng.choice([b"[]\n", b"{}\n", b"null\n", b"3\n"]))


def nested_deeply(path: Path, rng: random.Random) -> None:
    _rewrite(path, lambda content: b"[" * 100_000)


def sibling_instead(path: Path, rng: random.Random) -> None:
    """Another file of this kind with other content: of another layer, seed or split."""
    content, name = path.read_bytes(), path.name
    others: list[Path] = []
    for folder in path.parents[1:4]:  # the nearest that holds any
        others = others or [p for p in sorted(folder.rglob(f"*{path.suffix}")) if p.read_bytes() != content]
    same = [p for p in others if p.name == name] or others
    shutil.copyfile(rng.choice(same), path)


def unreadable(path: Path, rng: random.Random) -> None:
    path.chmod(0)


def folder_instead(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()


def dangling_link(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.symlink_to(path.with_name("gone"))


def folder_deleted(path: Path, rng: random.Random) -> None:
    shutil.rmtree(path.parent)


def folder_emptied(path: Path, rng: random.Random) -> None:
    shutil.rmtree(path.parent)
    path.parent.mkdir()


def folder_of_a_sibling(path: Path, rng: random.Random) -> None:
    """A whole folder, in agreement with itself, that belongs elsewhere."""
    folder = path.parent
    others = [p for p in sorted(folder.parent.iterdir()) if p.is_dir() and p != folder and (p / path.name).is_file()]
    alike = [p for p in others if p.name.partition("_")[0] == folder.name.partition("_")[0]]
    shutil.rmtree(folder)
    shutil.copytree(rng.choice(alike or others), folder)


def privileged() -> bool:
    """Whether permissions are no obstacle to this process."""
    return os.geteuid() == 0
