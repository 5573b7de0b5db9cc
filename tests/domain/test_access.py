from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from nixvm_loop.domain.access import can_open, can_traverse, way_to
from nixvm_loop.domain.host import cpu_virtualizes, is_local

if TYPE_CHECKING:
    from collections.abc import Callable

    from nixvm_loop.domain.access import Stat

QEMU, KVM, ME = 64055, 107, 1000


def tree(**folders: tuple[int, int, int]) -> Callable[[Path], Stat]:
    known = {"/": (0o755, 0, 0), **{f"/{name.replace('__', '/')}": value for name, value in folders.items()}}

    def look(path: Path) -> Stat:
        if str(path) not in known:
            raise FileNotFoundError(path)
        mode, uid, gid = known[str(path)]
        return SimpleNamespace(st_mode=stat.S_IFDIR | mode, st_uid=uid, st_gid=gid)

    return look


@pytest.mark.parametrize(
    ("home", "enters"),
    [
        ((0o755, ME, ME), True),
        ((0o711, ME, ME), True),
        ((0o700, ME, ME), False),
        ((0o750, ME, KVM), True),
        ((0o701, ME, KVM), False),
        ((0o077, QEMU, ME), False),
        ((0o700, QEMU, ME), True),
    ],
)
def test_the_first_class_that_applies_decides(home: tuple[int, int, int], *, enters: bool) -> None:
    """Owner, then group, then others: a closed home closes everything below it."""
    look = tree(home=(0o755, 0, 0), home__me=home, home__me__state=(0o755, ME, ME))
    assert can_traverse(Path("/home/me/state"), QEMU, (64055, KVM), look) is enters


def test_root_enters_everything_and_nobody_enters_nothing() -> None:
    """Root needs no permission; a folder that cannot be looked at counts as closed."""
    look = tree(home=(0o700, ME, ME))
    assert can_traverse(Path("/home"), 0, (), look)
    assert not can_traverse(Path("/missing"), QEMU, (), look)


def test_agrees_with_the_kernel(tmp_path: Path) -> None:
    """What it says of real folders is what access(2) says to that user."""
    open_folder, closed = tmp_path / "open", tmp_path / "closed"
    open_folder.mkdir(0o755)
    closed.mkdir(0o600)
    gids: tuple[int, ...]
    folders = (open_folder, closed, Path("/"))
    if os.getuid() == 0:
        # Root may do everything; pytest's folders are for their owner only.
        user: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []}
        uid, gids = 65534, (65534,)
    else:
        user, uid, gids = {}, os.getuid(), (os.getgid(), *os.getgroups())
    answers = [subprocess.run(["sh", "-c", 'test -x "$0"', folder], check=False, **user) for folder in folders]
    verdicts = [can_traverse(folder, uid, gids) for folder in folders]
    assert verdicts == [answer.returncode == 0 for answer in answers]
    assert set(verdicts) == {False, True}


def test_devices() -> None:
    """Only a character device that the user may read and write will do."""
    assert can_open(Path("/dev/null"), QEMU, ())
    assert not can_open(Path("/etc/passwd"), 0, ())
    assert not can_open(Path("/dev/nonexistent"), 0, ())


@pytest.mark.parametrize(
    ("uri", "local"),
    [
        ("qemu:///system", True),
        ("qemu:///session", True),
        ("qemu+unix:///system?socket=/run/x", True),
        ("qemu+ssh://me@host/system", False),
        ("qemu+ssh:///system", False),
        ("qemu://host/system", False),
        ("test:///default", True),
    ],
)
def test_local_uris(uri: str, *, local: bool) -> None:
    """A URI with a network transport or a host leads to another machine."""
    assert is_local(uri) is local


def test_processors() -> None:
    """The flag counts as a word, not as a part of one."""
    assert cpu_virtualizes("flags\t\t: fpu vmx sse\n")
    assert cpu_virtualizes("flags : fpu\nflags : svm\n")
    assert not cpu_virtualizes("flags : fpu svm_lock vmxnet\n")


def test_the_way_through_links(tmp_path: Path) -> None:
    """Each folder that the kernel enters is on it once, whatever a link in it leads to; a circle has no end."""
    inner = tmp_path / "a/b"
    inner.mkdir(parents=True)
    (inner / "file").touch()
    (tmp_path / "l").symlink_to("a/../a/b/up")
    (inner / "up").symlink_to(inner / "file")
    above = tuple(reversed(tmp_path.parents))
    assert way_to(tmp_path / "l") == (*above, tmp_path, tmp_path / "a", inner)
    assert way_to(inner / "file") == (*above, tmp_path, tmp_path / "a", inner)
    assert way_to(tmp_path / "missing/file") == (*above, tmp_path, tmp_path / "missing")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(OSError, match="Too many levels"):
        way_to(tmp_path / "circle")


def test_a_link_into_a_closed_folder() -> None:
    """A folder that is open itself is not reached through a closed one that a link leads through."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        state = Path(made, "closed/state")
        state.mkdir(parents=True)
        Path(made, "link").symlink_to(state)
        assert can_traverse(Path(made, "link"), QEMU, ())
        state.parent.chmod(0o700)
        assert not can_traverse(Path(made, "link"), QEMU, ())
