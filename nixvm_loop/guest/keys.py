"""The key that nixvm-loop logs in with, made once for each guest."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nixvm_loop.errors import GuestError

_NAME: Final = "id_ed25519"
REMAKE: Final = "nixvm-loop rebuild makes a new one and hands it to the guest, if the domain is nixvm-loop's"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Where the private key is, and the public one as a line of authorized_keys (no newline)."""

    private: Path
    public: str


def ensure_key(folder: Path) -> KeyPair:
    """The key pair kept in `folder` (0700), made if there is none. Two callers at once get the same pair.

    Raises:
        GuestError: the folder or the key cannot be written or read.
    """
    private = folder / _NAME
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        if not private.exists():
            _make(private)
        private.chmod(0o600)
        return KeyPair(private, public_key(private))
    except (OSError, ValueError) as error:
        raise _unusable(private, error) from error


def kept_key(folder: Path) -> KeyPair:
    """The key pair kept in `folder`, for those who only look; nothing is made.

    Raises:
        GuestError: there is none, or it cannot be read.
    """
    private = folder / _NAME
    try:
        if not private.exists():
            raise GuestError(f"there is no SSH key {private}", hint=REMAKE)
        return KeyPair(private, public_key(private))
    except (OSError, ValueError) as error:
        raise _unusable(private, error) from error


def _unusable(private: Path, error: OSError | ValueError) -> GuestError:
    if isinstance(error, OSError):
        reason, hint = error.strerror, f"check the owner and the permissions of {private.parent}"
    else:
        reason, hint = str(error), f"remove it: {REMAKE}"
    return GuestError(f"the SSH key {private} cannot be made or read: {reason}", hint=hint)


def public_key(private: Path) -> str:
    """The public half of a private key, from the `.pub` beside it if there is one.

    Raises:
        OSError: the key cannot be read.
        ValueError: it is no private key, or has a passphrase.
    """
    with suppress(FileNotFoundError):
        return private.with_name(f"{private.name}.pub").read_text(encoding="utf-8").strip()
    import asyncssh  # noqa: PLC0415  # slow to import

    return asyncssh.read_private_key(private).export_public_key().decode().strip()


def write_private(path: Path, content: bytes) -> None:
    """Replace a file's content in one step; nobody but the owner may read it."""
    temporary = _temporary(path, content)
    try:
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _make(private: Path) -> None:
    import asyncssh  # noqa: PLC0415  # slow to import

    key = asyncssh.generate_private_key("ssh-ed25519", comment="nixvm-loop")
    temporary = _temporary(private, key.export_private_key())
    try:
        # A link, unlike a rename, never replaces the key that somebody else has just made.
        with suppress(FileExistsError):
            private.hardlink_to(temporary)
    finally:
        temporary.unlink()
    public = asyncssh.read_private_key(private).export_public_key()
    write_private(private.with_name(f"{private.name}.pub"), public)


def _temporary(path: Path, content: bytes) -> Path:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return Path(name)
