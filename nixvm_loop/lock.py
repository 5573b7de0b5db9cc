"""One process at a time acts on a guest: a kernel lock, so that a dead holder holds nothing."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nixvm_loop.errors import GenerationError
from nixvm_loop.files import PRIVATE_FILE, place_hint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

_POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a guest; `since` is ISO 8601 in UTC."""

    pid: int
    command: str
    since: str

    def __str__(self) -> str:
        """As a message names it."""
        return f"{self.command} (process {self.pid}, since {self.since})"


@asynccontextmanager
async def held(path: Path, me: Holder, on_wait: Callable[[Holder | None], None]) -> AsyncIterator[None]:
    """Hold the guest. While another process does, wait without bound and tell `on_wait` each time the holder changes.

    Raises:
        GenerationError: the lock's file or its folder cannot be made.
    """
    descriptor = _open(path)
    try:
        await _acquire(descriptor, path, on_wait)
        while not _is_still(path, descriptor):
            # Whoever held it has removed the whole state; a lock that nobody else can see is none.
            os.close(descriptor)
            descriptor = _open(path)
            await _acquire(descriptor, path, on_wait)
        _sign(descriptor, path, me)
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
    except OSError as error:
        raise GenerationError(f"{path} cannot be opened: {error.strerror}", hint=place_hint(error)) from error


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _sign(descriptor: int, path: Path, me: Holder) -> None:
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(me)).encode(), 0)
    except OSError as error:
        raise GenerationError(f"{path} cannot be written: {error.strerror}") from error


async def _acquire(descriptor: int, path: Path, on_wait: Callable[[Holder | None], None]) -> None:
    told: object = _acquire
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = read_holder(path)
            if told != holder:
                told = holder
                on_wait(holder)
            await asyncio.sleep(_POLL_S)
        else:
            return


def read_holder(path: Path) -> Holder | None:
    """Who holds the guest, None when nobody does or the holder has not yet said so. Takes no lock."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        holder = Holder(**value)
    except (OSError, ValueError, TypeError):
        return None
    return holder if Path(f"/proc/{holder.pid}").exists() else None
