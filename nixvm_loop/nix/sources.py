"""What a guest's flake is made of on this machine: the trees to watch, the inputs that must not come from the lock."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from nixvm_loop.errors import BuildError
from nixvm_loop.events.types import Notice
from nixvm_loop.model.sources import SourceKind, SourceRoot
from nixvm_loop.model.values import Severity
from nixvm_loop.nix.flakeref import LocalFlake, local_flake
from nixvm_loop.nix.lockfile import LocalInput, local_inputs

if TYPE_CHECKING:
    from pathlib import Path

    from nixvm_loop.model.settings import GuestSettings

_INPUTS: Final = re.compile(r"^\s*(\{\s*)?inputs\s*[.=]", re.MULTILINE)
_LOCAL_URL: Final = re.compile(r'"((?:path|git\+file):/[^"$]+)"')
_SELF_SUBMODULES: Final = re.compile(r"\bself\s*(?:\.|=\s*\{[^}]*?)\s*submodules\s*=\s*true")


def source_roots(guest: GuestSettings) -> tuple[SourceRoot, ...]:
    """The trees that the guest's flake can see, its own first; empty for a remote flake without local inputs.

    Raises:
        BuildError: the flake's lock file cannot be read.
    """
    roots = [*own_root(guest)]
    roots += [item.root for item in _inputs(guest)]
    roots += [item.root for url in _unlocked_urls(guest) if (item := _edited(url)) is not None]
    roots += [item.root for url in (guest.build.override_inputs or {}).values() if (item := _edited(url)) is not None]
    return tuple(dict.fromkeys(roots))


def own_root(guest: GuestSettings) -> tuple[SourceRoot, ...]:
    """The flake's own tree alone; empty for a remote flake."""
    own = _own(guest)
    return () if own is None else (own,)


def override_arguments(guest: GuestSettings) -> tuple[str, ...]:
    """Arguments for nix that make it use local inputs as they are now; the configured ones win.

    Raises:
        BuildError: the flake's lock file cannot be read.
    """
    configured = dict(guest.build.override_inputs or {})
    # An input below one that is configured comes with that one.
    local = {
        item.name: item.reference
        for item in _inputs(guest)
        if item.root.path.exists() and not any(f"{item.name}/".startswith(f"{name}/") for name in configured)
    }
    arguments = [("--override-input", name, reference) for name, reference in (local | configured).items()]
    return tuple(word for triple in arguments for word in triple)


def missing_lock(guest: GuestSettings) -> Notice | None:
    """The word on a flake that has inputs but no lock file; worth saying once."""
    if guest.flake_dir is None or (guest.flake_dir / "flake.lock").exists():
        return None
    if not _INPUTS.search(_text(guest.flake_dir / "flake.nix") or ""):
        return None
    message = "the flake has no lock file: its inputs are looked up afresh in each cycle"
    return Notice(Severity.WARNING, message, f"nix flake lock {guest.flake_dir}")


def _own(guest: GuestSettings) -> SourceRoot | None:
    flake = local_flake(guest.flake)
    if flake is None and guest.flake_dir is not None:
        flake = LocalFlake(SourceRoot(guest.flake_dir, SourceKind.FOLDER))
    if flake is None:
        return None
    root = flake.root
    wanted = guest.flake_dir is not None and _SELF_SUBMODULES.search(_text(guest.flake_dir / "flake.nix") or "")
    return SourceRoot(root.path, root.kind, root.submodules or (root.kind is SourceKind.GIT and bool(wanted)))


def _edited(reference: str) -> LocalFlake | None:
    flake = local_flake(reference)
    return None if flake is None or flake.pinned or flake.root.path.is_relative_to("/nix/store") else flake


def _inputs(guest: GuestSettings) -> tuple[LocalInput, ...]:
    text = None if guest.flake_dir is None else _text(guest.flake_dir / "flake.lock")
    if guest.flake_dir is None or text is None:
        return ()
    try:
        return local_inputs(text, guest.flake_dir)
    except ValueError as error:
        file = guest.flake_dir / "flake.lock"
        raise BuildError(
            f"{file}:1:1: the lock file cannot be read: {error}",
            hint=f"repair it, or make it anew: nix flake lock {guest.flake_dir}",
        ) from error


def _unlocked_urls(guest: GuestSettings) -> list[str]:
    """Local inputs of a flake without a lock, as far as its text shows them."""
    if guest.flake_dir is None or (guest.flake_dir / "flake.lock").exists():
        return []
    return _LOCAL_URL.findall(_text(guest.flake_dir / "flake.nix") or "")


def _text(file: Path) -> str | None:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return None  # whoever needs it says so: nix does, with a better reason
