"""A read-only mount of the host's store: what keeps a guest from writing there where libvirt cannot forbid it."""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nixvm_loop.domainxml import HostStore
from nixvm_loop.domainxml.values import STORE_DIR
from nixvm_loop.errors import DomainError
from nixvm_loop.process import Request, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

# Below a folder that is gone with the next boot of the host, where nobody but root can put anything.
VIEW: Final = Path("/run/nixvm-loop/store")
STORE: Final = Path(STORE_DIR)
_POLL_S: Final = 0.02
# Longer, together, than libvirt may take for what is done meanwhile.
_TRIES: Final = 2000
_MOUNTS: Final = 21  # CAP_SYS_ADMIN
_HINT: Final = "a user other than root does without it; docs/how-to/create-a-domain.md says what it is for"


def available(store: Path = STORE, view: Path = VIEW) -> HostStore:
    """How the store can be shared so that nothing can be changed there: as it is, or through the view; else as it is.

    The view counts where it is mounted, or where we may mount it (`provided`); nothing is done here.
    """
    if _is_read_only(store):
        return HostStore(str(store), unchanging=True)
    if is_there(store, view) or (store.is_dir() and _may_mount()):
        return HostStore(str(view), unchanging=True)
    return HostStore(str(store))


def is_there(store: Path = STORE, view: Path = VIEW) -> bool:
    """Whether the view is mounted, and shows this store."""
    return _shows(store, view) and _is_read_only(view)


@asynccontextmanager
async def provided(store: Path = STORE, view: Path = VIEW) -> AsyncIterator[None]:
    """Mount the view unless it is there; until the context is left, nobody who may mount removes it.

    A domain that uses it is to be defined within: from then on it is seen by whoever would remove the view.

    Raises:
        DomainError: it cannot be mounted.
    """
    if is_there(store, view) and not _may_mount():
        yield
        return
    async with AsyncExitStack() as held:
        try:
            await held.enter_async_context(_alone(view))
            await _provide(store, view)
        except OSError as error:
            raise DomainError(f"{view} cannot be made: {error.strerror}", hint=_HINT) from error
        yield


async def _provide(store: Path, view: Path) -> None:
    if is_there(store, view):
        return
    _make_place(view)
    if not _shows(store, view):
        # In one step from util-linux 2.39 on; before, whoever kills it in the middle leaves a view that can be written.
        await _mount("mount", "-o", "bind,ro", "--", str(store), str(view))
    if not is_there(store, view):
        await _mount("mount", "-o", "remount,bind,ro", "--", str(view))
    if not is_there(store, view):
        raise DomainError(f"{view} does not show {store} read-only although it was mounted so", hint=_HINT)


async def remove(is_used: Callable[[], Awaitable[bool]], store: Path = STORE, view: Path = VIEW) -> None:
    """Unmount the view, if it is there, we may, and it is not used, which is asked while nobody can begin to.

    Raises:
        DomainError: it cannot be unmounted, or what `is_used` raises.
    """
    if not (_may_mount() and _is_folder(view)):
        return
    async with _alone(view):
        if _shows(store, view) and await is_used():
            return
        while _shows(store, view):
            await _mount("umount", "--", str(view))
        _remove_place(view)


def _make_place(view: Path) -> None:
    view.mkdir(mode=0o755, parents=True, exist_ok=True)


def _is_folder(view: Path) -> bool:
    return view.is_dir()


def _remove_place(view: Path) -> None:
    with suppress(OSError):  # it shows another store, or there is more in the folder: that is somebody else's
        view.rmdir()


def _shows(store: Path, view: Path) -> bool:
    try:
        return not view.is_symlink() and os.path.samestat(store.stat(), view.stat())
    except OSError:
        return False


def _lock(view: Path) -> Path:
    return view.with_name(f"{view.name}.lock")


@asynccontextmanager
async def _alone(view: Path) -> AsyncIterator[None]:
    """Hold off others who mount there at this moment."""
    _make_place(view.parent)
    # The file stays: to remove it would be to let those who wait for it in beside those who make it anew.
    handle = os.open(_lock(view), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        for _ in range(_TRIES):
            if _locked(handle):
                break
            await asyncio.sleep(_POLL_S)
        else:
            raise DomainError(f"another process has been busy with {view} for long", hint=_HINT)
        yield
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _mount(*argv: str) -> None:
    done = await run(Request(argv))
    if not done.ok:
        said = done.stderr.decode(errors="replace").strip() or f"exit code {done.exit_code}"
        raise DomainError(f"{argv[-1]}, the read-only view of the store: {said}", hint=_HINT)


def _is_read_only(folder: Path) -> bool:
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _may_mount() -> bool:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            return os.geteuid() == 0 and bool(int(value, 16) >> _MOUNTS & 1)
    return False
