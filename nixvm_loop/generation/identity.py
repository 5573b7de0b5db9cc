"""Whom a state directory belongs to: two checkouts, or two domains, must not share one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from nixvm_loop.errors import GenerationError, UsageError
from nixvm_loop.files import place_hint, read_json, write_json

_NAME: Final = "guest.json"
_SCHEMA: Final = 1


def check(state_dir: Path, *, flake: str, domain_uuid: str | None = None) -> None:
    """Make sure that a state directory, if it is there, is this flake's and this domain's; nothing is written.

    A flake whose folder is gone holds nothing: its checkout was moved, or its name was a slip of the pen.

    Raises:
        UsageError: it belongs to another flake or another domain.
        GenerationError: it cannot be read.
    """
    _compared(state_dir / _NAME, flake, domain_uuid)


def check_apart(state_dir: Path, flake_dir: Path | None) -> None:
    """Make sure that the state is not among the files of a flake that is its whole folder.

    Each cycle would be a change, and Nix would copy the state, its SSH key included, into the world-readable store.

    Raises:
        UsageError: it is.
    """
    if flake_dir is None or flake_dir not in state_dir.parents:
        return
    if any((folder / ".git").exists() for folder in (flake_dir, *flake_dir.parents)):
        return
    raise UsageError(
        f"the state directory {state_dir} is in the flake {flake_dir}, which is not in git: all of it is the flake",
        hint="set state_dir to a folder outside the flake, or make the flake a git repository",
    )


def claim(state_dir: Path, *, flake: str, domain_uuid: str | None = None) -> None:
    """Hold the state directory to one flake and, once known, one domain. Raises what `check` does."""
    path = state_dir / _NAME
    known, given = _compared(path, flake, domain_uuid)
    if given.items() <= known.items():
        return
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        write_json(path, {"schema": _SCHEMA} | known | given)
    except OSError as error:
        raise GenerationError(f"{path} cannot be written: {error.strerror}", hint=place_hint(error)) from error


def _compared(path: Path, flake: str, domain_uuid: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is known and what is to be, which do not contradict each other."""
    known = _read(path)
    given = {"flake": flake} | ({"domain_uuid": domain_uuid} if domain_uuid else {})
    for key, value in given.items():
        if known.get(key) not in {None, value} and not (key == "flake" and _is_gone(known[key])):
            raise _belongs_elsewhere(path, key.replace("_", " ").replace("uuid", "UUID"), known[key], value)
    return known, given


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json(path) or {}
    except OSError as error:
        raise GenerationError(f"{path} cannot be read: {error.strerror}", hint=place_hint(error)) from error
    except ValueError as error:
        reason = str(error).removeprefix(f"{path} ")
        hint = "remove it, if no other guest uses this state directory: the next cycle writes it anew"
        raise GenerationError(f"{path} is damaged: it {reason}", hint=hint) from error


def _is_gone(flake: object) -> bool:
    folder = Path(str(flake).partition("?")[0])
    try:
        return folder.is_absolute() and not folder.exists()
    except OSError:
        return False


def _belongs_elsewhere(path: Path, what: str, theirs: object, ours: str) -> UsageError:
    return UsageError(
        f"the state directory {path.parent} belongs to another guest: its {what} is {theirs}, not {ours}",
        hint=f"give this guest a state_dir of its own, or remove {path} if the other one is gone for good",
    )


def domain_uuid(state_dir: Path) -> str | None:
    """The UUID of the domain that the state directory was made for, so that a new definition keeps it."""
    value = _read(state_dir / _NAME).get("domain_uuid")
    return value if isinstance(value, str) else None
