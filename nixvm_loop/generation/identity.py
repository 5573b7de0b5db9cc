"""Whom a state directory belongs to: two checkouts, or two domains, must not share one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nixvm_loop.errors import GenerationError, UsageError
from nixvm_loop.files import read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

_NAME: Final = "guest.json"
_SCHEMA: Final = 1


def claim(state_dir: Path, *, flake: str, domain_uuid: str | None = None) -> None:
    """Hold the state directory to one flake and, once known, one domain.

    Raises:
        UsageError: it belongs to another flake or another domain.
        GenerationError: it cannot be read or written.
    """
    path = state_dir / _NAME
    try:
        known = read_json(path) or {}
        given = {"flake": flake} | ({"domain_uuid": domain_uuid} if domain_uuid else {})
        for key, value in given.items():
            if known.get(key) not in {None, value}:
                raise _belongs_elsewhere(path, key.replace("_", " ").replace("uuid", "UUID"), known[key], value)
        if not given.items() <= known.items():
            state_dir.mkdir(parents=True, exist_ok=True)
            write_json(path, {"schema": _SCHEMA} | known | given)
    except (OSError, ValueError) as error:
        raise GenerationError(f"{path} cannot be used: {error}") from error


def _belongs_elsewhere(path: Path, what: str, theirs: object, ours: str) -> UsageError:
    return UsageError(
        f"the state directory {path.parent} belongs to another guest: its {what} is {theirs}, not {ours}",
        hint=f"give this guest a state_dir of its own, or remove {path} if the other one is gone for good",
    )


def domain_uuid(state_dir: Path) -> str | None:
    """The UUID of the domain that the state directory was made for, so that a new definition keeps it."""
    try:
        known = read_json(state_dir / _NAME) or {}
    except (OSError, ValueError) as error:
        raise GenerationError(f"{state_dir / _NAME} cannot be read: {error}") from error
    value = known.get("domain_uuid")
    return value if isinstance(value, str) else None
