from __future__ import annotations

import asyncio
import itertools
import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nixvm_loop import control
from nixvm_loop.control.place import connect, listening, places
from nixvm_loop.errors import UsageError
from tests.control.support import Desk, settings_for

if TYPE_CHECKING:
    import subprocess as processes
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    OtherWatch = Callable[..., AbstractContextManager[processes.Popen[str]]]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def is_served(state: Path) -> bool:
    connection = connect(state)
    if connection is not None:
        connection.close()
    return connection is not None


def test_the_socket_is_private_and_goes_with_its_server(state: Path, runtime: Path) -> None:
    """It is in a 0700 folder of the runtime directory, is 0600 whatever the umask, and is removed at the end."""
    before = os.umask(0)
    try:
        with listening(state):
            (folder,) = runtime.iterdir()
            (path,) = folder.iterdir()
            assert (permissions(folder), permissions(path)) == (0o700, 0o600)
            assert is_served(state)
    finally:
        os.umask(before)
    assert list(folder.iterdir()) == []
    assert not is_served(state)


def test_a_folder_that_was_open_to_others_is_closed(state: Path, runtime: Path) -> None:
    """A folder of ours with too many permissions loses them."""
    (runtime / "nixvm-loop").mkdir(mode=0o755)
    with listening(state):
        assert permissions(runtime / "nixvm-loop") == 0o700


def test_two_state_directories_never_meet(tmp_path: Path) -> None:
    """Each has its own place; a link to a state directory leads to the same one."""
    one, two, link = tmp_path / "a/demo", tmp_path / "b/demo", tmp_path / "link"
    for folder in (one, two):
        folder.mkdir(parents=True)
    link.symlink_to(one)
    with listening(one):
        assert is_served(one)
        assert is_served(link)
        assert not is_served(two)
        with listening(two):
            assert is_served(two)


@pytest.fixture
def no_usual_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host where nobody has made /run/user/UID."""
    monkeypatch.setattr("nixvm_loop.control.place._owner", lambda _: 2**31)


@pytest.mark.usefixtures("no_usual_runtime")
@pytest.mark.parametrize("bad", ["missing", "writable by others", "not absolute", "a link in it"])
def test_without_a_runtime_directory_the_state_directory_takes_it(
    bad: str, state: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A runtime directory that is missing or not ours alone is not used, and the client finds the other place."""
    if bad == "missing":
        monkeypatch.delenv("XDG_RUNTIME_DIR")
    elif bad == "writable by others":
        runtime.chmod(0o777)
    elif bad == "not absolute":
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("XDG_RUNTIME_DIR", "runtime")
    else:
        (tmp_path / "elsewhere").mkdir()
        (runtime / "nixvm-loop").symlink_to(tmp_path / "elsewhere")
    with listening(state):
        assert permissions(state / "control.sock") == 0o600
        assert is_served(state)
    assert list(state.iterdir()) == []


@as_root
@pytest.mark.usefixtures("no_usual_runtime")
def test_somebody_elses_runtime_directory_is_not_used(state: Path, runtime: Path) -> None:
    """As `sudo` leaves it in the environment."""
    os.chown(runtime, 12345, 12345)
    with listening(state):
        assert is_served(state)
    assert list(runtime.iterdir()) == []


def test_root_finds_the_users_watch(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose the state directory is tells the place where the environment does not."""
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    first, *_ = places(state)
    assert first.parent == Path(f"/run/user/{state.stat().st_uid}/nixvm-loop")


@pytest.mark.usefixtures("no_usual_runtime")
def test_no_path_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses of sockets end at 107 bytes, state directories do not."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "none"))
    state = tmp_path / ("s" * 120)
    state.mkdir()
    with listening(state):
        assert is_served(state)
    assert not is_served(state)


def test_a_second_server_is_refused(state: Path, other_watch: OtherWatch) -> None:
    """Who serves the guest already is named, and goes on with it."""
    with other_watch() as watch:
        with pytest.raises(UsageError, match=f"process {watch.pid} watches this guest already"), listening(state):
            pass
        assert is_served(state)


def test_a_dead_servers_socket_is_taken_over(state: Path, runtime: Path, other_watch: OtherWatch) -> None:
    """What SIGKILL leaves is no server, and no obstacle for the next one."""
    with other_watch() as watch:
        watch.send_signal(signal.SIGKILL)
        watch.wait()
        assert len(list((runtime / "nixvm-loop").iterdir())) == 1
        assert not is_served(state)
        with listening(state):
            assert is_served(state)
    assert list((runtime / "nixvm-loop").iterdir()) == []


def test_a_server_that_hangs_is_not_removed(state: Path, other_watch: OtherWatch) -> None:
    """A stopped process is alive: even when its queue is full, nobody takes its place."""
    with other_watch() as watch:
        watch.send_signal(signal.SIGSTOP)
        waiting = []
        while (connection := connect(state)) is not None:
            waiting.append(connection)
        assert waiting
        with pytest.raises(OSError, match="in use"), listening(state):
            pass
        watch.send_signal(signal.SIGCONT)
        for connection in waiting:
            connection.close()


@pytest.mark.usefixtures("no_usual_runtime")
def test_what_is_no_socket_stays(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that somebody put in the socket's place is theirs."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    (state / "control.sock").write_text("mine")
    with pytest.raises(OSError, match="in use"), listening(state):
        pass
    assert (state / "control.sock").read_text() == "mine"


def test_a_successors_socket_is_left_alone(state: Path) -> None:
    """A server whose socket was removed by hand, and made anew by another, does not take that one with it."""
    with listening(state):
        places(state)[0].unlink()
        with listening(state):
            pass
        assert not is_served(state)
        successor = listening(state)
        successor.__enter__()
    assert is_served(state)
    successor.__exit__(None, None, None)


async def test_of_many_servers_at_once_one_wins(state: Path, other_watch: OtherWatch) -> None:
    """However they race for a dead server's socket, one serves and the others are refused."""
    with other_watch() as watch:
        watch.kill()
        watch.wait()
    script = (
        "import sys; from pathlib import Path; from nixvm_loop.control.place import listening\n"
        "sys.stdin.readline()\n"
        "with listening(Path(sys.argv[1])):\n  print('won', flush=True); sys.stdin.readline()\n"
    )
    racers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, state,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )
        for _ in range(4)
    ]  # fmt: skip
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write(b"go\n")
    for loser in itertools.islice(asyncio.as_completed([racer.wait() for racer in racers]), len(racers) - 1):
        await loser
    assert is_served(state)
    said = [await racer.communicate(b"\n") for racer in racers]
    assert sorted(racer.returncode or 0 for racer in racers) == [0, 1, 1, 1]
    assert sum(out == b"won\n" for out, _ in said) == 1
    assert sum(b"watches this guest already" in err for _, err in said) == 3


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@as_root
@pytest.mark.usefixtures("no_usual_runtime")
async def test_other_users_get_nothing(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the socket's mode nor the kernel's word on who asks lets another user in."""
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    async with Desk().serving(open_folder):
        path = open_folder / "control.sock"
        assert await ask_as_nobody(path) == "refused"
        path.chmod(0o666)
        assert await ask_as_nobody(path) == "nothing"
        watch = await control.reach(settings_for(open_folder))
        assert watch is not None
        await watch.close()


async def ask_as_nobody(path: Path) -> str:
    """What a client of another user is told: all that it can read, or that it could not connect."""
    script = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        "try:\n  s.connect(sys.argv[1])\nexcept PermissionError:\n  print('refused')\n"
        "else:\n  print(s.recv(100).decode() or 'nothing')\n"
    )
    asking = await asyncio.create_subprocess_exec(
        "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c", script, path,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    out, _ = await asking.communicate()
    return out.decode().strip()


@as_root
async def test_another_users_server_is_not_asked(state: Path) -> None:
    """A socket in our place that another user serves is passed over: what it says would not be our watch's word."""
    with listening(state) as listener:
        assert is_served(state)
        code = (
            "import socket, sys; s = socket.socket(fileno=int(sys.argv[1])); s.listen()\n"
            "print('on', flush=True); sys.stdin.read()"
        )
        other = await asyncio.create_subprocess_exec(
            "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
            "/usr/bin/python3", "-c", code, str(listener.fileno()),
            pass_fds=[listener.fileno()], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert other.stdout is not None
        assert await other.stdout.readline() == b"on\n"
        assert not is_served(state)
        await other.communicate(b"")
