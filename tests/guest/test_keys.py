from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import asyncssh
import pytest

from nixvm_loop.errors import GuestError
from nixvm_loop.guest import KeyPair, ensure_key

if TYPE_CHECKING:
    from pathlib import Path


def mode(path: Path) -> int:
    """A file's permission bits."""
    return path.stat().st_mode & 0o777


def test_the_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    """A second call gives the same pair; nobody else can read it; nothing temporary stays."""
    folder = tmp_path / "state" / "ssh"
    first = ensure_key(folder)
    assert ensure_key(folder) == first
    assert (mode(folder), mode(first.private)) == (0o700, 0o600)
    assert sorted(path.name for path in folder.iterdir()) == ["id_ed25519", "id_ed25519.pub"]
    assert first.public.startswith("ssh-ed25519 AAAA")
    assert "\n" not in first.public


def test_the_public_half_belongs_to_the_private_one(tmp_path: Path) -> None:
    """It is made again from the private key when its file is gone."""
    first = ensure_key(tmp_path)
    (tmp_path / "id_ed25519.pub").unlink()
    again = ensure_key(tmp_path)
    assert again.public.split()[:2] == first.public.split()[:2]
    assert asyncssh.read_private_key(first.private).export_public_key().decode().split()[1] == first.public.split()[1]


def test_a_key_that_others_may_read_is_closed(tmp_path: Path) -> None:
    """OpenSSH would refuse such a key."""
    private = ensure_key(tmp_path).private
    private.chmod(0o644)
    ensure_key(tmp_path)
    assert mode(private) == 0o600


def test_two_at_once_get_the_same_key(tmp_path: Path) -> None:
    """Neither replaces the key that the other has already handed out."""
    pairs: list[KeyPair] = []
    threads = [threading.Thread(target=lambda: pairs.append(ensure_key(tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({pair.public for pair in pairs}) == 1
    assert asyncssh.read_private_key(pairs[0].private).export_public_key().decode().strip() == pairs[0].public


def test_a_damaged_key_is_told(tmp_path: Path) -> None:
    """A file that is no key is a clear error, and is not overwritten."""
    (tmp_path / "id_ed25519").write_text("no key")
    with pytest.raises(GuestError, match="id_ed25519 cannot be made or read"):
        ensure_key(tmp_path)
    assert (tmp_path / "id_ed25519").read_text() == "no key"


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A file in the folder's place is a clear error."""
    (tmp_path / "file").touch()
    with pytest.raises(GuestError, match="cannot be made or read"):
        ensure_key(tmp_path / "file" / "ssh")
