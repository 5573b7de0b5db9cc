"""What a file holds, as a short text: git's mode and blob id, so that git's index can stand in for reading files."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

ABSENT: Final = "-"
"""The id of a file that should be there and is not."""

OTHER_KIND: Final = "kind"
"""How the ids of directories, sockets and devices begin: their kind is all that counts of them."""

_CHUNK_BYTES: Final = 1 << 20
# Larger files would make a save wait; their size and time have to do.
_LARGEST_READ_BYTES: Final = 64 << 20


def signature(path: str) -> int | None:
    """A number that changes when the file is written, replaced or changes its mode; None when nothing is there.

    One number instead of the fields it is made of: there is one for each file of a tree.
    """
    try:
        return signature_of(os.lstat(path))
    except OSError:
        return None


def signature_of(status: os.stat_result) -> int:
    """The same from a file's status."""
    return hash((status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_mode))


def content_id(path: str, algorithm: str = "sha1") -> str:
    """Mode and content of a file, or of a link itself, as `git ls-files --stage` would say it.

    What cannot be read, or is very large, is known by size and time.
    """
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            return f"120000 {_blob(os.fsencode(os.readlink(path)), algorithm)}"
        if stat.S_ISREG(status.st_mode):
            return _file_id(path, status, algorithm)
    except (FileNotFoundError, NotADirectoryError):
        return ABSENT
    except OSError as error:
        return f"unreadable {error.errno}"
    return f"{OTHER_KIND} {stat.S_IFMT(status.st_mode):o}"


def content_ids(root: str, paths: Iterable[str], algorithm: str = "sha1") -> dict[str, tuple[int | None, str]]:
    """Signature and id of several files below `root`, by their relative paths. The signature is never the newer."""
    return {path: (signature(full), content_id(full, algorithm)) for path in paths for full in (f"{root}/{path}",)}


def _file_id(path: str, status: os.stat_result, algorithm: str) -> str:
    mode = "100755" if status.st_mode & stat.S_IXUSR else "100644"
    by_status = f"{mode} unread {status.st_size} {status.st_mtime_ns}"
    if status.st_size > _LARGEST_READ_BYTES:
        return by_status
    try:
        # Should it have become a pipe meanwhile, opening it must not wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:
        return by_status
    try:
        size = os.fstat(descriptor).st_size
        digest = hashlib.new(algorithm, b"blob %d\0" % size, usedforsecurity=False)
        while chunk := os.read(descriptor, _CHUNK_BYTES):
            digest.update(chunk)
    finally:
        os.close(descriptor)
    return f"{mode} {digest.hexdigest()}"


def _blob(data: bytes, algorithm: str) -> str:
    return hashlib.new(algorithm, b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
