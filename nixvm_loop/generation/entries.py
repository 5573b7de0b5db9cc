"""What lies in a guest's state directory as it is found: whole generations, damaged ones, and what does not belong."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from nixvm_loop.errors import GenerationError
from nixvm_loop.files import in_words
from nixvm_loop.generation.folder import missing_from_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nixvm_loop.generation.store import Generations
    from nixvm_loop.model.values import Generation

UNFINISHED: Final = "unfinished: no generation.json; a build is under way, or one was cut short"


@dataclass(frozen=True, slots=True)
class Entry:
    """A numbered folder.

    Attributes:
        generation: None when its parts are missing or were edited.
        about: What `generation.json` says; empty when it does not.
        problem: What is wrong with it, None when it is whole.
    """

    number: int
    generation: Generation | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None


def entries(generations: Generations) -> tuple[Entry, ...]:
    """All numbered folders, the oldest first. Raises GenerationError only when the folder of them cannot be read."""
    found = [_entry(generations, number) for number in sorted(generations.numbers())]
    left = set(generations.numbers())  # a cycle may have pruned some meanwhile
    return tuple(entry for entry in found if entry.number in left)


def _entry(generations: Generations, number: int) -> Entry:
    about: dict[str, Any] = {}
    try:
        about = generations.about(number)
        generation = generations.read(number)
    except GenerationError as error:
        return Entry(number, None, about, error.message.replace(f"generation {number} cannot be read", "damaged", 1))
    if generation is None:
        return Entry(number, None, about, UNFINISHED)
    gone = missing_from_store(generation)
    return Entry(
        number, generation, about, f"damaged: gone from the store: {', '.join(map(str, gone))}" if gone else None
    )


def problems(generations: Generations) -> tuple[str, ...]:
    """What is wrong beside the numbered folders, in sentences. Raises GenerationError when it cannot be read."""
    try:
        return (*_current(generations), *_fixed_links(generations), *_foreign(generations))
    except OSError as error:
        raise GenerationError(f"{generations.state_dir} cannot be read: {in_words(error)}") from error


def _current(generations: Generations) -> list[str]:
    link = generations.state_dir / "current"
    if not os.path.lexists(link):
        return []
    number = generations.current_number()
    if number is None:
        found = f"names {link.readlink()}" if link.is_symlink() else "is no link"
        return [f"{link} {found}, not a generation"]
    return [] if number in generations.numbers() else [f"{link} names generation {number}, which is not there"]


def _fixed_links(generations: Generations) -> list[str]:
    found = []
    for link, name in ((generations.kernel_link, "kernel"), (generations.initrd_link, "initrd")):
        right = link.is_symlink() and str(link.readlink()) == f"current/{name}"
        if not right and generations.numbers():
            found.append(f"{link} does not name current/{name}; the next cycle sets it right")
    return found


def _foreign(generations: Generations) -> list[str]:
    if not generations.folder.is_dir():
        return []
    ours = {str(number) for number in generations.numbers()}
    names = sorted(entry.name for entry in generations.folder.iterdir() if entry.name not in ours)
    return [f"{generations.folder / name} is not a generation's folder; it is left alone" for name in names]
