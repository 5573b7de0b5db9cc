from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from nixvm_loop import procfs


def test_descendants() -> None:
    """Children of children are found, strangers are not."""
    assert procfs.descendants(1, {2: 1, 3: 2, 4: 3, 5: 9, 9: 0}) == (2, 3, 4)
    assert procfs.descendants(7, {2: 1}) == ()


def test_a_child_of_ours() -> None:
    """It is known as one, with its start, for as long as it lives; then as ended, before and after it is waited for."""
    with subprocess.Popen(["sleep", "60"], stdout=subprocess.PIPE) as child:
        assert procfs.parents()[child.pid] == os.getpid()
        ((pid, began),) = procfs.started([child.pid])
        assert (pid, int(began) > 0) == (child.pid, True)
        assert procfs.is_alive(child.pid)
        child.kill()
        assert child.stdout is not None
        child.stdout.read()
        deadline = time.monotonic() + 5
        while procfs.is_alive(child.pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not procfs.is_alive(child.pid)
        assert procfs.started([child.pid]) == {(pid, began)}
    assert not procfs.is_alive(child.pid)
    assert procfs.started([child.pid]) == set()


def test_a_name_that_looks_like_the_rest(tmp_path: Path) -> None:
    """A program may be called anything, brackets and spaces included."""
    program = tmp_path / "a) R 1 1"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as child:
        deadline = time.monotonic() + 5
        while "R 1 1" not in Path(f"/proc/{child.pid}/comm").read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert procfs.parents()[child.pid] == os.getpid()
        child.kill()
