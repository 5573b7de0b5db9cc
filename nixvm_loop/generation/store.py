"""The folder of a guest's generations: slots for builds, the flip, what is kept and what is let go."""

from __future__ import annotations

import re
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nixvm_loop.errors import GenerationError
from nixvm_loop.files import link_atomic, read_json, write_atomic, write_json
from nixvm_loop.model.values import Generation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nixvm_loop.model.values import Artifacts

_SCHEMA: Final = 1
_FOLDER_MODE: Final = 0o755
_PUBLIC_FILE: Final = 0o644
_CURRENT: Final = re.compile(r"generations/(\d+)")


@dataclass(frozen=True, slots=True)
class Generations:
    """The generations in one guest's state directory. All but reading wants the guest's lock held."""

    state_dir: Path

    @property
    def kernel_link(self) -> Path:
        """What the domain's `<kernel>` names."""
        return self.state_dir / "kernel-current"

    @property
    def initrd_link(self) -> Path:
        """What the domain's `<initrd>` names."""
        return self.state_dir / "initrd-current"

    def prepare(self) -> None:
        """Make the folders and the fixed links; clear away slots that a crash left without a generation."""
        with _reported(f"{self.state_dir} cannot be prepared"):
            self._folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            for link, name in ((self.kernel_link, "kernel"), (self.initrd_link, "initrd")):
                if not link.is_symlink() or str(link.readlink()) != f"current/{name}":
                    link_atomic(link, f"current/{name}")
            for number in self._numbers():
                if not (self._directory(number) / "generation.json").exists():
                    self.discard(number)

    def slot(self) -> Slot:
        """A new folder for the next generation; its `toplevel` is where the build makes its root."""
        with _reported(f"no generation can be added to {self._folder}"):
            number = max(self._numbers(), default=0) + 1
            directory = self._directory(number)
            directory.mkdir()
            directory.chmod(_FOLDER_MODE)  # whatever the umask: QEMU's user has to get through
            return Slot(number, directory)

    def discard(self, number: int) -> None:
        """Let a slot or a generation go; its root goes with it."""
        with _reported(f"generation {number} cannot be removed"):
            # Without it, what a crash leaves here is a slot, which the next cycle clears away.
            (self._directory(number) / "generation.json").unlink(missing_ok=True)
            shutil.rmtree(self._directory(number))

    def write(self, slot: Slot, artifacts: Artifacts, cmdline: str, about: dict[str, Any]) -> Generation:
        """Turn a slot whose `toplevel` is rooted into a generation. `generation.json` comes last and completes it."""
        generation = Generation(
            slot.number, slot.directory, artifacts.toplevel, artifacts.kernel, artifacts.initrd, cmdline
        )
        with _reported(f"generation {slot.number} cannot be written"):
            link_atomic(slot.directory / "kernel", artifacts.kernel)
            link_atomic(slot.directory / "initrd", artifacts.initrd)
            write_atomic(slot.directory / "cmdline", cmdline + "\n", mode=_PUBLIC_FILE)
            facts = {
                "schema": _SCHEMA,
                "number": slot.number,
                "toplevel": str(artifacts.toplevel),
                "kernel": str(artifacts.kernel),
                "initrd": str(artifacts.initrd),
                "label": artifacts.label,
                "verdict": None,
            }
            write_json(slot.directory / "generation.json", facts | about, mode=_PUBLIC_FILE)
        return generation

    def annotate(self, number: int, about: dict[str, Any]) -> None:
        """Add to, or change, what `generation.json` says."""
        with _reported(f"generation {number} cannot be annotated"):
            path = self._directory(number) / "generation.json"
            write_json(path, (read_json(path) or {}) | about, mode=_PUBLIC_FILE)

    def about(self, number: int) -> dict[str, Any]:
        """What `generation.json` says."""
        with _reported(f"generation {number} cannot be read"):
            return read_json(self._directory(number) / "generation.json") or {}

    def flip(self, generation: Generation) -> None:
        """Make a generation the current one: one rename, so that kernel and initrd change together."""
        with _reported(f"current cannot be set to generation {generation.number}"):
            link_atomic(self.state_dir / "current", f"generations/{generation.number}")

    def current(self) -> Generation | None:
        """The generation that the domain boots, None before the first flip or when its folder is gone."""
        number = self.current_number()
        return None if number is None else self.read(number)

    def current_or_none(self) -> Generation | None:
        """The current generation, None as well when it is damaged."""
        with suppress(GenerationError):
            return self.current()
        return None

    def current_number(self) -> int | None:
        """The number that `current` names."""
        link = self.state_dir / "current"
        if not link.is_symlink():
            return None
        match = _CURRENT.fullmatch(str(link.readlink()))
        return int(match[1]) if match else None

    def newest_number(self) -> int | None:
        """The last generation that was completed."""
        complete = (n for n in self._numbers() if (self._directory(n) / "generation.json").exists())
        return max(complete, default=None)

    def read(self, number: int) -> Generation | None:
        """A kept generation, None when there is none of that number."""
        directory = self._directory(number)
        with _reported(f"generation {number} cannot be read"):
            if not (directory / "generation.json").exists():
                return None
            return Generation(
                number,
                directory,
                (directory / "toplevel").readlink(),
                (directory / "kernel").readlink(),
                (directory / "initrd").readlink(),
                (directory / "cmdline").read_text(encoding="utf-8").rstrip("\n"),
            )

    def last_good(self) -> Generation | None:
        """The newest generation that passed verification after a boot."""
        for number in sorted(self._numbers(), reverse=True):
            with suppress(GenerationError):  # a damaged one is not good
                if self.is_good(number):
                    return self.read(number)
        return None

    def is_good(self, number: int) -> bool:
        """Whether the generation has passed verification after a boot. Raises GenerationError if it is damaged."""
        return self.about(number).get("verdict") == "ok"

    def number_of(self, toplevel: str) -> int | None:
        """The newest generation of a toplevel."""
        for number in sorted(self._numbers(), reverse=True):
            link = self._directory(number) / "toplevel"
            if link.is_symlink() and str(link.readlink()) == toplevel:
                return number
        return None

    def prune(self, keep: int, booted: str | None) -> tuple[int, ...]:
        """Let all but the newest `keep` go, never the current, the last good or the booted one; returns the gone."""
        good = self.last_good()
        held = {self.current_number(), good and good.number, booted and self.number_of(booted)}
        old = sorted(self._numbers(), reverse=True)[keep:]
        gone = tuple(number for number in old if number not in held)
        for number in gone:
            self.discard(number)
        return gone

    @property
    def _folder(self) -> Path:
        return self.state_dir / "generations"

    def _directory(self, number: int) -> Path:
        return self._folder / str(number)

    def _numbers(self) -> list[int]:
        if not self._folder.is_dir():
            return []
        return [int(entry.name) for entry in self._folder.iterdir() if entry.name.isdecimal()]


@dataclass(frozen=True, slots=True)
class Slot:
    """A numbered folder that is not yet a generation."""

    number: int
    directory: Path

    @property
    def root(self) -> Path:
        """Where the build makes its garbage-collector root: at its final path, since a root is bound to its path."""
        return self.directory / "toplevel"


@contextmanager
def _reported(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise GenerationError(f"{what}: {error}") from error
