from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from nixvm_loop.domain.virtiofsd import found_by_libvirt, no_readonly_because

if TYPE_CHECKING:
    from pathlib import Path

    from nixvm_loop.domain import Connection

NEW = 11_000_000


def program(folder: Path, says: str, to: int = 1) -> str:
    """A program that says its version on a descriptor."""
    file = folder / "virtiofsd"
    file.write_text(f"#!/bin/sh\n[ \"$1\" = --version ] && echo '{says}' >&{to}\n")
    file.chmod(0o755)
    return str(file)


@pytest.mark.parametrize(
    ("says", "to", "because"),
    [
        ("virtiofsd 1.13.0", 1, ""),
        ("virtiofsd 1.14.0-dev", 1, ""),
        ("virtiofsd 2.0", 1, ""),
        ("virtiofsd 1.12.0", 1, "virtiofsd 1.12.0 is older than 1.13"),
        ("virtiofsd 1.9.1", 1, "virtiofsd 1.9.1 is older than 1.13"),
        ("virtiofsd version 7.2.22 (Debian 1:7.2+dfsg-7)", 1, "does not say that it is virtiofsd 1.13"),
        ("setgroups() failed with error=1:Operation not permitted", 2, "does not say that it is virtiofsd 1.13"),
    ],
)
async def test_a_share_is_read_only_by_both(tmp_path: Path, says: str, to: int, because: str) -> None:
    """A libvirt that knows the option hands it on to a virtiofsd that ends with it; the latter is asked."""
    reason = await no_readonly_because(NEW, program(tmp_path, says, to))
    assert reason.endswith(because) if not because else because in reason
    assert bool(reason) is bool(because)


async def test_what_is_not_known_of_virtiofsd(tmp_path: Path) -> None:
    """One that is not there counts as unable; where none is found, libvirt's version decides, as on another host."""
    assert "does not say" in await no_readonly_because(NEW, str(tmp_path / "missing"))
    assert await no_readonly_because(NEW, None) == ""
    assert await no_readonly_because(10_010_000, None) == "libvirt 10.10 is older than 11.0"


async def test_an_old_libvirt_is_told_first(tmp_path: Path) -> None:
    """Its virtiofsd is not even started."""
    daemon = tmp_path / "virtiofsd"
    daemon.write_text('#!/bin/sh\ntouch "$0.ran"\n')
    daemon.chmod(0o755)
    assert await no_readonly_because(9_000_000, str(daemon)) == "libvirt 9.0 is older than 11.0"
    assert not (tmp_path / "virtiofsd.ran").exists()


async def test_the_hosts_facts(connection: Connection) -> None:
    """What decides is told with the reason."""
    host = await connection.host()
    assert host.readonly_share is not bool(host.no_readonly_because)


def test_where_libvirt_looks(tmp_path: Path) -> None:
    """The first by name over all folders, a namesake in a later folder in its place, an empty file for none at all."""
    folders = [tmp_path / name for name in ("lib", "share", "etc")]
    for folder in folders:
        folder.mkdir()
    lib, share, etc = folders
    names = [str(folder) for folder in folders]

    def serves(file: Path, kind: str, binary: str) -> None:
        file.write_text(json.dumps({"description": "a test's", "type": kind, "binary": binary}))

    assert found_by_libvirt(names) is None
    serves(share / "10-gpu.json", "gpu", "/gpu")
    assert found_by_libvirt(names) is None
    serves(share / "50-virtiofsd.json", "fs", "/share")
    assert found_by_libvirt(names) == "/share"
    serves(etc / "60-mine.json", "fs", "/later")
    assert found_by_libvirt(names) == "/share"
    serves(lib / "40-first.json", "fs", "/first")
    assert found_by_libvirt(names) == "/first"
    (etc / "40-first.json").touch()
    (etc / "30-gone.json").symlink_to(etc / "nowhere")
    serves(etc / "50-virtiofsd.json", "fs", "/etc")
    assert found_by_libvirt([*names, str(tmp_path / "missing")]) == "/etc"
