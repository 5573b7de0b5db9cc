"""Files that are either as they were or as they should be: written beside, then renamed."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PRIVATE_FILE = 0o600
_WRONG_PLACE: Final = frozenset({errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EROFS, errno.EEXIST})


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to be made, which must not be there yet."""

    path: Path
    text: str


def create_all(files: Sequence[NewFile]) -> None:
    """Make all of the files or none, for everybody to read as the umask has it.

    Raises:
        FileExistsError: one is there already, be it a link to nowhere.
        OSError: one cannot be written.
        UnicodeEncodeError: a text has halves of characters.
    """
    made: list[Path] = []
    try:
        for file in files:
            with file.path.open("x", encoding="utf-8") as stream:
                made.append(file.path)
                stream.write(file.text)
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise


def write_atomic(path: Path, text: str, *, mode: int = PRIVATE_FILE) -> None:
    """Replace `path` by `text` in one rename; raises OSError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # a rename may reach the disk before the content does
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def in_words(error: OSError | ValueError) -> str:
    """Why a file could not be used: what the system calls it, with the file, and no numbers."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


def clear_beside(folder: Path) -> None:
    """Remove what writers that were killed have left beside the files in `folder`; raises OSError."""
    for path in folder.glob(".*.tmp"):
        pid = path.name.split(".")[-2]
        if pid.isdecimal() and not os.path.exists(f"/proc/{pid}"):  # noqa: PTH110  # as quick as it can be
            path.unlink(missing_ok=True)


def write_json(path: Path, value: dict[str, Any], *, mode: int = PRIVATE_FILE) -> None:
    """Replace `path` by `value` as readable JSON; raises OSError."""
    write_atomic(path, json.dumps(value, indent=2) + "\n", mode=mode)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in `path`, None when there is no such file.

    Raises:
        ValueError: the file holds something else; the text says where.
        OSError: it cannot be read.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} does not hold a JSON object")  # noqa: TRY004  # the caller sees one kind of bad file
    return value


def link_atomic(link: Path, target: str | os.PathLike[str]) -> None:
    """Make `link` point at `target` in one rename, whatever it pointed at before; raises OSError."""
    beside = link.with_name(f".{link.name}.{os.getpid()}.tmp")
    beside.unlink(missing_ok=True)
    beside.symlink_to(target)
    try:
        beside.replace(link)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def place_hint(error: OSError) -> str | None:
    """What to do about a state directory that the system refuses; None where its place is not to blame."""
    if error.errno not in _WRONG_PLACE:
        return None
    return "set state_dir to a folder that this user may write, or mend this one's owner and permissions"
