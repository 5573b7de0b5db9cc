"""One generation's folder: what its links say, what `generation.json` says, and whether they agree."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from nixvm_loop.model.values import Generation

if TYPE_CHECKING:
    from pathlib import Path

_SCHEMA: Final = 1


def missing_from_store(generation: Generation) -> tuple[Path, ...]:
    """What the generation links to and is not there any more: deleted by force, since its root holds it."""
    named = (generation.toplevel, generation.kernel, generation.initrd)
    return tuple(path for path in named if not os.path.exists(path))  # noqa: PTH110  # Path's own raises


def facts_of(generation: Generation, label: str) -> dict[str, Any]:
    """What `generation.json` says of a generation that was not tried yet."""
    return {
        "schema": _SCHEMA,
        "number": generation.number,
        "toplevel": str(generation.toplevel),
        "kernel": str(generation.kernel),
        "initrd": str(generation.initrd),
        "cmdline": generation.cmdline,
        "label": label,
        "verdict": None,
    }


def linked(number: int, directory: Path) -> Generation:
    """The generation that the links make; raises ValueError and OSError for what is missing or no link."""
    toplevel, kernel, initrd = (_target(directory / name) for name in ("toplevel", "kernel", "initrd"))
    try:
        cmdline = (directory / "cmdline").read_text(encoding="utf-8").rstrip("\n")
    except FileNotFoundError:
        raise ValueError("its cmdline is missing") from None
    except ValueError:
        raise ValueError("its cmdline is not text") from None
    return Generation(number, directory, toplevel, kernel, initrd, cmdline)


def _target(link: Path) -> Path:
    if not os.path.lexists(link):
        raise ValueError(f"its {link.name} is missing")
    if not link.is_symlink():
        raise ValueError(f"its {link.name} is not a link")
    return link.readlink()


def check_unedited(generation: Generation, about: dict[str, Any]) -> None:
    """Raises ValueError when `generation.json`, which is written once, says otherwise than the links."""
    for name in ("number", "toplevel", "kernel", "initrd", "cmdline"):
        found, noted = str(getattr(generation, name)), about.get(name)
        older = name == "cmdline" and noted is None  # it was not noted there at first
        if found != str(noted) and not older:
            raise ValueError(f"its {name} is {found}, but generation.json says {noted}")
