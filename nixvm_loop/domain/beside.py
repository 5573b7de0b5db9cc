"""What runs beside a domain on libvirt's host: the processes that share its folders, and everybody's logs."""

from __future__ import annotations

import asyncio
import os
import re
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

LOG_FOLDER: Final = Path("/var/log/libvirt/qemu")
QEMU: Final = ""
VIRTIOFSD: Final = "-fs0-virtiofsd"
_LOG_LINES: Final = 5
_TAIL_BYTES: Final = 64 << 10
# What libvirt and QEMU write at every start and every end.
_USUAL: Final = re.compile(
    r" \\$|^-msg timestamp|char device redirected to|is tainted: |: starting up |: shutting down|^LC_ALL=|^$"
)
_RUN_FOLDERS: Final = ("/run/libvirt/qemu", "{runtime}/libvirt/qemu/run")


def log_file(domain: str, program: str) -> Path:
    """Where system libvirt's log of a program (`QEMU`, `VIRTIOFSD`) of the domain is."""
    return LOG_FOLDER / f"{domain}{program}.log"


def log_end(domain: str, program: str) -> tuple[str, ...]:
    """The log's last lines that say something, under its name; nothing where it is not there or is not ours to read.

    System libvirt's logs are root's, as a rule: who may not read them is told where they are by a hint.
    """
    path = log_file(domain, program)
    try:
        with path.open("rb") as log:
            log.seek(max(log.seek(0, os.SEEK_END) - _TAIL_BYTES, 0))
            lines = log.read().decode(errors="replace").splitlines()
    except OSError:
        return ()
    telling = [line for line in lines if _USUAL.search(line) is None][-_LOG_LINES:]
    return (f"{path}:", *telling) if telling else ()


def share_processes(instance_id: int) -> tuple[int, ...]:
    """The process ids of a running domain's virtiofsd, by this machine's libvirt; none where that is not known (yet).

    One that has ended is among them.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR", "/run/user/none")
    folders = (Path(folder.format(runtime=runtime)) for folder in _RUN_FOLDERS)
    files = (file for folder in folders for file in folder.glob(f"{instance_id}-*-fs.pid"))
    return tuple(pid for file in files if (pid := _pid(file)) is not None)


def _pid(file: Path) -> int | None:
    # While it starts, its process is still another program; later on its number may be another program's.
    with suppress(OSError, ValueError):
        pid = int(file.read_text())
        if not Path(f"/proc/{pid}").exists() or "virtiofsd" in Path(f"/proc/{pid}/comm").read_text():
            return pid
    return None


async def one_ends(pids: Iterable[int]) -> None:
    """Wait until one of the processes has ended; for ever if there are none."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    async with AsyncExitStack() as stack:
        for pid in pids:
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                return
            stack.callback(os.close, descriptor)
            loop.add_reader(descriptor, ended.set)
            stack.callback(loop.remove_reader, descriptor)
        await ended.wait()
