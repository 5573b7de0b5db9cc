"""Reads from the store what of a system only a boot puts in place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from nixvm_loop.model.values import System

# Whatever stands on these mounts takes the store away when it is mounted anew.
_STORE_ROOT: Final = "/nix"
_FSTAB_FIELDS: Final = 4
_ESCAPES: Final = {"\\040": " ", "\\011": "\t", "\\012": "\n", "\\134": "\\"}


def read_system(toplevel: Path, cmdline: str) -> System | None:
    """What the toplevel holds, for a guest that boots, or booted, it with `cmdline`; None when it is gone."""
    if not os.path.exists(toplevel):  # noqa: PTH110  # Path's own raises
        return None
    modules = toplevel / "kernel-modules"
    return System(
        toplevel=toplevel,
        cmdline=cmdline,
        kernel=(toplevel / "kernel").resolve(),
        initrd=(toplevel / "initrd").resolve(),
        modules=modules.resolve() if modules.is_symlink() or modules.exists() else None,
        release=_release(modules),
        init_interface=_text(toplevel / "init-interface-version").strip(),
        store_mounts=store_mounts(_text(toplevel / "etc" / "fstab")),
        switchable=os.access(toplevel / "bin" / "switch-to-configuration", os.X_OK),
    )


def store_mounts(fstab: str) -> tuple[tuple[str, ...], ...]:
    """The entries at /nix and below, sorted, with their options sorted: device, mount point, type, options."""
    found = []
    for line in fstab.splitlines():
        fields = line.split()
        if len(fields) < _FSTAB_FIELDS or fields[0].startswith("#"):
            continue
        device, place, kind, options = map(_unescaped, fields[:_FSTAB_FIELDS])
        if Path(place) == Path(_STORE_ROOT) or Path(_STORE_ROOT) in Path(place).parents:
            found.append((device, place, kind, ",".join(sorted(options.split(",")))))
    return tuple(sorted(found))


def _unescaped(field: str) -> str:
    for escape, character in _ESCAPES.items():
        field = field.replace(escape, character)
    return field


def _release(modules: Path) -> str | None:
    try:
        return min((folder.name for folder in (modules / "lib" / "modules").iterdir()), default=None)
    except OSError:
        return None


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""  # a system may well do without
