"""The definition that an adopted domain had before, kept for `release`, and what libvirt made of the adopted one."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nixvm_loop import domainxml
from nixvm_loop.errors import DomainError, GenerationError
from nixvm_loop.files import place_hint, write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ORIGINAL: Final = "adopted.xml"
_AFTER: Final = "adopted-as.xml"


@dataclass(frozen=True, slots=True)
class Original:
    """What is kept of an adoption.

    Attributes:
        file: Where the definition from before is.
        uuid: The domain's.
        after: What the domain was right after its adoption, None when that was interrupted.
    """

    file: Path
    text: str
    uuid: str | None
    after: str | None


def read(state_dir: Path) -> Original | None:
    """What is kept, None when nothing is. Raises GenerationError."""
    file = state_dir / _ORIGINAL
    with _reported(file, "read"):
        text, after = _text(file), _text(state_dir / _AFTER)
    return None if text is None else Original(file, text, _uuid(file, text), after)


def keep(state_dir: Path, text: str) -> None:
    """Keep a definition, before the domain is given another; mode 0600, since it holds passwords."""
    with _reported(state_dir / _ORIGINAL, "written"):
        (state_dir / _AFTER).unlink(missing_ok=True)
        write_atomic(state_dir / _ORIGINAL, text)
        # Libvirt's own file is about to change for good; ours must not be what a power failure takes back.
        descriptor = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def keep_after(state_dir: Path, text: str) -> None:
    """Keep what the domain is since its adoption, to tell later what others changed."""
    with _reported(state_dir / _AFTER, "written"):
        write_atomic(state_dir / _AFTER, text)


def forget(state_dir: Path) -> None:
    """Keep nothing any more: the domain is what it was."""
    with _reported(state_dir / _ORIGINAL, "removed"):
        (state_dir / _AFTER).unlink(missing_ok=True)
        (state_dir / _ORIGINAL).unlink(missing_ok=True)


def _uuid(file: Path, text: str) -> str | None:
    try:
        return domainxml.read(text).uuid
    except DomainError as error:
        raise _damaged(file, error.message) from error


def _damaged(file: Path, why: str) -> GenerationError:
    hint = "it was edited: mend it, or move it away if the domain is to stay as it is"
    return GenerationError(f"{file} is damaged: {why}", hint=hint)


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


@contextmanager
def _reported(file: Path, done: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise GenerationError(f"{file} cannot be {done}: {error.strerror}", hint=place_hint(error)) from error
    except UnicodeDecodeError as error:
        raise _damaged(file, "it is not UTF-8") from error
