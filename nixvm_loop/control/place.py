"""Where the socket of a guest is, who may be on its other end, and how a server comes to own it.

It is in the user's runtime directory, else in the guest's state directory. Its name there is made from the state
directory's, so that two of them never meet.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import stat
import struct
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nixvm_loop.errors import UsageError
from nixvm_loop.files import PRIVATE_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

_PRIVATE_FOLDER: Final = 0o700
_OTHERS: Final = 0o077
_OTHERS_WRITE: Final = 0o022
# sun_path has 108 bytes, the last of them is zero.
_ADDRESS_LIMIT_BYTES: Final = 107
_BACKLOG: Final = 32
_CREDENTIALS: Final = struct.Struct("3i")
_ROOT: Final = 0
_LOCK_TIMEOUT_S: Final = 1.0
_LOCK_POLL_S: Final = 0.01


def places(state_dir: Path) -> tuple[Path, ...]:
    """Where the socket for a state directory may be, the best place first."""
    name = hashlib.sha256(os.fsencode(os.path.realpath(state_dir))).hexdigest()[:32]
    # Another shell, or root, may have another environment; whose state it is tells both of them the same.
    bases = (os.environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{_owner(state_dir)}")
    in_runtime = (Path(base) / "nixvm-loop" / f"{name}.sock" for base in dict.fromkeys(bases) if base.startswith("/"))
    return (*in_runtime, state_dir / "control.sock")


def _owner(state_dir: Path) -> int:
    try:
        return state_dir.stat().st_uid
    except OSError:
        return os.geteuid()


def connect(state_dir: Path) -> socket.socket | None:
    """A connection to whoever serves a state directory and may be trusted; None when nobody does."""
    trusted = {os.geteuid(), _ROOT}
    if os.geteuid() == _ROOT:
        trusted.add(_owner(state_dir))
    for path in places(state_dir):
        connection = _connected(path)
        if connection is None:
            continue
        if peer(connection)[1] in trusted:
            return connection
        connection.close()
    return None


def _connected(path: Path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with _address(path) as address:
            connection.connect(address)
    except OSError:
        # Not there, dead, somebody else's, or so busy that nobody can be served.
        connection.close()
        return None
    return connection


def peer(connection: socket.socket) -> tuple[int, int]:
    """Process and user on the other end, as the kernel knows them."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    process, user, _ = _CREDENTIALS.unpack(data)
    return process, user


def is_trusted_client(connection: socket.socket) -> bool:
    """Whether a client is the user that we are, or root."""
    return peer(connection)[1] in {os.geteuid(), _ROOT}


@contextmanager
def listening(state_dir: Path) -> Iterator[socket.socket]:
    """Listen for a state directory; the socket of a dead server is taken over, at the end ours is removed.

    Raises:
        UsageError: a live server listens already.
        OSError: there is no place for the socket.
    """
    path = _usable(state_dir)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        # The folder's lock makes one step of the look and the taking over.
        with _locked(path.parent):
            _refuse_second(state_dir)
            _remove_dead(path)
            os.fchmod(listener.fileno(), PRIVATE_FILE)
            with _address(path) as address:
                listener.bind(address)
            ours = path.lstat()
            listener.listen(_BACKLOG)
        try:
            yield listener
        finally:
            # While it still listens nobody takes it over, so what is removed is ours.
            with suppress(FileNotFoundError):
                if os.path.samestat(path.lstat(), ours):
                    path.unlink()
    finally:
        listener.close()


def _refuse_second(state_dir: Path) -> None:
    other = connect(state_dir)
    if other is not None:
        process, _ = peer(other)
        other.close()
        raise UsageError(
            f"process {process} watches this guest already",
            hint="one watch is enough for a guest: nixvm-loop rebuild and status talk to it",
        )


def _remove_dead(path: Path) -> None:
    """Remove a socket that nobody listens at; whatever else is there stays, and `bind` will say so."""
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with _address(path) as address:
            probe.connect(address)
    except ConnectionRefusedError:
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    except OSError:
        pass  # nothing is there, or something that is not ours to judge
    finally:
        probe.close()


def _usable(state_dir: Path) -> Path:
    *in_runtime, last = places(state_dir)
    usable = next((path for path in in_runtime if _made_private(path.parent)), None)
    if usable is None:
        last.parent.mkdir(parents=True, exist_ok=True)
    return usable or last


def _made_private(folder: Path) -> bool:
    """Whether the runtime directory is ours, and with it now a folder in it that nobody else can enter."""
    try:
        base = folder.parent.stat()
        if base.st_uid != os.geteuid() or base.st_mode & _OTHERS_WRITE:
            return False
        folder.mkdir(mode=_PRIVATE_FOLDER, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            return False
        if found.st_mode & _OTHERS:
            folder.chmod(_PRIVATE_FOLDER)
    except OSError:
        return False
    return True


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    # Whoever holds it does nothing that waits, unless it is stopped in the middle.
    deadline_s = time.monotonic() + _LOCK_TIMEOUT_S
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(_LOCK_POLL_S)


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """A name of `path` that is short enough for the kernel."""
    if len(os.fsencode(path)) <= _ADDRESS_LIMIT_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
