"""What is typed on the command line and is to stand in a configuration file: read as it would be there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from nixvm_loop.config.flakes import attribute, flake
from nixvm_loop.config.keys import NAME, NAME_EXPECTED
from nixvm_loop.config.kinds import Kind, attempt, line
from nixvm_loop.config.problems import Place
from nixvm_loop.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from nixvm_loop.config.flakes import Flake

_NAME: Final = line(NAME_EXPECTED, NAME, 100)
_COMPONENT: Final = re.compile(r'"[^"]*"|[^."]+')


def typed_flake(reference: str, base: Path) -> Flake:
    """A flake reference as seen from the folder `base`. Raises UsageError."""
    address, mark, fragment = reference.partition("#")
    if mark:
        hint = f"--flake {address or '.'} says where, --guest {fragment or 'NAME'} or --attribute which configuration"
        raise UsageError(f'--flake: leave out "#{fragment}"', hint=hint)
    read: Flake = _typed(flake(), reference, base, "--flake")
    return read


def typed_attribute(path: str, base: Path) -> str:
    """An attribute path. Raises UsageError."""
    read: str = _typed(attribute(), path, base, "--attribute")
    return read


def typed_name(name: str, base: Path) -> str:
    """A guest's name. Raises UsageError."""
    read: str = _typed(_NAME, name, base, "--guest")
    return read


def is_expressible(path: str, base: Path) -> bool:
    """Whether an attribute path can stand in a configuration file."""
    place = Place(base)
    return attempt(attribute(), path, place) is not None


def last_name(path: str) -> tuple[str, str]:
    """The path of the set that holds what an attribute path names (it may be empty), and its name there."""
    names = _COMPONENT.findall(path)
    return ".".join(names[:-1]), names[-1].strip('"')


def _typed(kind: Kind, value: str, base: Path, option: str) -> Any:
    place = Place(base)
    read = attempt(kind, value, place)
    if read is None:
        raise UsageError(f"{option}: {place.problems[0].message}")
    return read
