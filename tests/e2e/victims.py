"""The processes that a guest and a cycle live by: found by what the kernel and libvirt say, killed, started again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.e2e.lab import Lab

_RUN: Final = Path("/run/libvirt/qemu")


def qemu(lab: Lab) -> list[int]:
    """The guest's QEMU."""
    return _alive([_RUN / f"{lab.name}.pid"])


def virtiofsd(lab: Lab) -> list[int]:
    """What serves the guest its share."""
    return _alive(_RUN.glob(f"*-{lab.name}-fs0-fs.pid"))


def nix(lab: Lab) -> list[int]:
    """Every nix that works for somebody: the programs, and the children of nix-daemon that serve them."""
    assert lab.name
    found = _processes()
    programs = [pid for pid, (_, name) in found.items() if name in {"nix", "nix-store"}]
    serving = [pid for pid, (parent, name) in found.items() if name == found.get(parent, (0, ""))[1] == "nix-daemon"]
    return programs + serving


def kill(pids: Sequence[int]) -> None:
    """SIGKILL."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@dataclass(frozen=True)
class Daemon:
    """A daemon of the host's that can be killed and started again."""

    pid: int
    argv: tuple[str, ...]

    @classmethod
    def named(cls, name: str) -> Daemon:
        """The one that runs now; the oldest, where it has children of its name."""
        pid = min(pid for pid, (_, other) in _processes().items() if other == name)
        return cls(pid, tuple(Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")))

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        os.kill(self.pid, signal.SIGKILL)
        while Path(f"/proc/{self.pid}/exe").exists():
            time.sleep(0.01)

    def start(self) -> None:
        """Start another one."""
        subprocess.run(
            ["setsid", "--fork", *self.argv], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )


def start_libvirtd(libvirtd: Daemon, lab: Lab) -> None:
    """Start it, and wait until it answers."""
    libvirtd.start()
    while lab.run("virsh", "-c", "qemu:///system", "list").returncode != 0:
        time.sleep(0.1)


def _processes() -> dict[int, tuple[int, str]]:
    """By process id, those that have not ended: the parent's id, and the name."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            text = (folder / "stat").read_text()
            name = text[text.index("(") + 1 : text.rindex(")")]
            state, parent = text[text.rindex(")") + 2 :].split()[:2]
            if state != "Z":
                found[int(folder.name)] = (int(parent), name)
    return found


def _alive(files: Iterable[Path]) -> list[int]:
    """Those of pid files whose process is there: libvirt leaves some files behind."""
    running = _processes()
    found = []
    for file in files:
        with suppress(OSError, ValueError):
            pid = int(file.read_text())
            if pid in running:
                found.append(pid)
    return found
