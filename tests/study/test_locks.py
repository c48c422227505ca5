"""The lock that processes wait for each other with."""

import subprocess
import sys

import pytest

from lens.locks import holding

HOLD = """
import sys, time
from pathlib import Path
from lens.locks import holding
with holding(Path(sys.argv[1])):
    print("held", flush=True)
    {then}
print("released", flush=True)
"""


def start(path, then):
    return subprocess.Popen(
        [sys.executable, "-c", HOLD.format(then=then), str(path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.PIPE,
    )  # fmt: skip


def test_a_second_process_waits_and_says_for_whom(tmp_path):
    path = tmp_path / "pool" / "work"
    first = start(path, "sys.stdin.readline()")
    assert first.stdout.readline() == "held\n"
    second = start(path, "pass")
    said = second.stderr.readline()
    assert f"process {first.pid} " in said and str(path.with_name(".work.lock")) in said
    assert second.poll() is None
    first.communicate("go\n", timeout=60)
    assert second.communicate(timeout=60) == ("held\nreleased\n", "")


def test_the_lock_of_a_killed_process_is_free(tmp_path, capsys):
    path = tmp_path / "work"
    killed = start(path, "time.sleep(600)")
    assert killed.stdout.readline() == "held\n"
    killed.kill()
    killed.communicate()
    with holding(path):
        assert capsys.readouterr().err == ""


def test_an_error_inside_frees_the_lock(tmp_path, capsys):
    for _ in range(2):
        with pytest.raises(KeyError), holding(tmp_path / "work"):
            raise KeyError
    assert capsys.readouterr().err == ""
