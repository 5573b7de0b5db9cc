from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import asyncssh
import pytest

from nixvm_loop.errors import GuestError
from nixvm_loop.guest import KeyPair, ensure_key, kept_key

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
    """A file that is no key is a clear error, and is not overwritten; what the hint says is a cure."""
    private = tmp_path / "id_ed25519"
    private.write_text("no key")
    for look in (ensure_key, kept_key):
        with pytest.raises(GuestError, match="id_ed25519 cannot be made or read") as caught:
            look(tmp_path)
        assert (caught.value.hint or "").startswith("remove it: nixvm-loop rebuild makes a new one")
    assert private.read_text() == "no key"
    private.unlink()
    assert ensure_key(tmp_path).public.startswith("ssh-ed25519 ")


def test_a_new_key_has_its_own_public_half(tmp_path: Path) -> None:
    """When the private key was removed, the public one beside it goes as well."""
    first = ensure_key(tmp_path)
    first.private.write_text("damaged")
    first.private.unlink()
    second = ensure_key(tmp_path)
    assert second.public != first.public
    assert asyncssh.read_private_key(second.private).export_public_key().decode().strip() == second.public


def test_looking_makes_no_key(tmp_path: Path) -> None:
    """Who only looks is told who makes one, and gets the one that is there."""
    folder = tmp_path / "ssh"
    with pytest.raises(GuestError, match=f"there is no SSH key {folder}/id_ed25519") as caught:
        kept_key(folder)
    assert "nixvm-loop rebuild makes a new one and hands it to the guest" in (caught.value.hint or "")
    assert not folder.exists()
    made = ensure_key(folder)
    assert kept_key(folder) == made


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A file in the folder's place is a clear error, in plain words and with the path once."""
    (tmp_path / "file").touch()
    with pytest.raises(GuestError, match="cannot be made or read: Not a directory") as caught:
        ensure_key(tmp_path / "file" / "ssh")
    assert caught.value.message.count(str(tmp_path)) == 1
    assert "owner" in (caught.value.hint or "")
