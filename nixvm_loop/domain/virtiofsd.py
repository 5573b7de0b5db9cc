"""The virtiofsd that libvirt would start on this machine, and whether both can keep a share read-only."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nixvm_loop.errors import UsageError
from nixvm_loop.process import Request, run

if TYPE_CHECKING:
    from collections.abc import Sequence

# Where libvirt looks for programs that serve devices; a file hides its namesakes before it. NixOS has the first.
FOLDERS: Final = ("/var/lib/qemu/vhost-user", "/usr/share/qemu/vhost-user", "/etc/qemu/vhost-user")
# Libvirt hands `--readonly` on without asking virtiofsd whether it knows that, and no capability of its tells.
_LIBVIRT_SINCE: Final = 11_000_000
_VIRTIOFSD_SINCE: Final = (1, 13)
# The one written in C says "virtiofsd version 7.2…", and to others than root nothing of the kind.
_RUST: Final = re.compile(r"virtiofsd ((\d+)\.(\d+)[\w.+-]*)")
_TIMEOUT_S: Final = 5.0


def found_by_libvirt(folders: Sequence[str] = FOLDERS) -> str | None:
    """The program that libvirt starts for a share without a `<binary>`; None when it is not found."""
    files = {file.name: file for folder in folders for file in Path(folder).glob("*.json")}
    for _, file in sorted(files.items()):
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # a folder, or a link that leads nowhere
        if re.search(r'"type"\s*:\s*"fs"', text) and (binary := re.search(r'"binary"\s*:\s*"([^"]+)"', text)):
            return binary[1]
    return None


async def no_readonly_because(libvirt_version: int, program: str | None) -> str:
    """Why a share cannot be read-only for the host; empty when it can.

    Args:
        libvirt_version: The daemon's, as libvirt counts.
        program: The virtiofsd that it starts; where that is not known, libvirt's version decides alone.
    """
    if libvirt_version < _LIBVIRT_SINCE:
        return f"libvirt {libvirt_version // 1_000_000}.{libvirt_version // 1000 % 1000} is older than 11.0"
    if program is None:
        return ""
    version = _RUST.match(await _word_of(program))
    if version is None:
        return f"{program} does not say that it is virtiofsd 1.13 or newer"
    if (int(version[2]), int(version[3])) < _VIRTIOFSD_SINCE:
        return f"virtiofsd {version[1]} is older than 1.13"
    return ""


async def _word_of(program: str) -> str:
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            outcome = await run(Request((program, "--version")))
    except (UsageError, TimeoutError):
        return ""
    return outcome.stdout.decode(errors="replace")
