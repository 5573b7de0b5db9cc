"""The folder of a guest's generations: slots for builds, the flip, what is kept and what is let go."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nixvm_loop.errors import GenerationError
from nixvm_loop.files import clear_beside, in_words, link_atomic, read_json, write_atomic, write_json
from nixvm_loop.generation.folder import check_unedited, facts_of, linked, missing_from_store
from nixvm_loop.model.values import Action, Generation, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nixvm_loop.model.values import Artifacts

_FOLDER_MODE: Final = 0o755
_PUBLIC_FILE: Final = 0o644
_NUMBER: Final = re.compile(r"[1-9][0-9]*")
_CURRENT: Final = re.compile(rf"generations/({_NUMBER.pattern})")


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

    def prepare(self) -> tuple[str, ...]:
        """Make the folders and the fixed links, and mend what a crash or a hand left; what was mended, in sentences."""
        with _reported(f"{self.state_dir} cannot be prepared"):
            self.folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            mended = []
            for folder in (self.state_dir, self.state_dir / "ssh", *map(self.directory, self.numbers())):
                clear_beside(folder)
            for link, name in ((self.kernel_link, "kernel"), (self.initrd_link, "initrd")):
                if not link.is_symlink() or str(link.readlink()) != f"current/{name}":
                    mended += [f"{link.name} did not name current/{name}: set right"] if os.path.lexists(link) else []
                    link_atomic(link, f"current/{name}")
            for number in self.numbers():
                if not (self.directory(number) / "generation.json").exists():
                    mended += self._mended(number)
            return tuple(mended)

    def _mended(self, number: int) -> list[str]:
        """Clear away a folder without `generation.json`, unless the domain boots from it."""
        if number != self.current_number():
            self.discard(number)
            return [f"generation {number} was never finished, or half deleted: cleared away"]
        try:
            generation = linked(number, self.directory(number))
        except ValueError:
            return []  # its root is all that it is good for; the next generation takes its place
        facts = facts_of(generation, generation.toplevel.name)
        write_json(self.directory(number) / "generation.json", facts, mode=_PUBLIC_FILE)
        return [f"generation {number}, the current one, had lost its generation.json: written anew, as not verified"]

    def slot(self) -> Slot:
        """A new folder for the next generation; its `toplevel` is where the build makes its root."""
        with _reported(f"no generation can be added to {self.folder}"):
            # Foreign things count too, since they have taken the name.
            taken = [int(entry.name) for entry in self.folder.iterdir() if _NUMBER.fullmatch(entry.name)]
            number = max(taken, default=0) + 1
            directory = self.directory(number)
            directory.mkdir()
            directory.chmod(_FOLDER_MODE)  # whatever the umask: QEMU's user has to get through
            return Slot(number, directory)

    def discard(self, number: int) -> None:
        """Let a slot or a generation go; its root goes with it."""
        with _reported(f"generation {number} cannot be removed"):
            # Without it, what a crash leaves here is a slot, which the next cycle clears away.
            with suppress(FileNotFoundError, IsADirectoryError):
                (self.directory(number) / "generation.json").unlink()
            with suppress(FileNotFoundError):
                shutil.rmtree(self.directory(number))

    def write(self, slot: Slot, artifacts: Artifacts, cmdline: str, about: dict[str, Any]) -> Generation:
        """Turn a slot whose `toplevel` is rooted into a generation. `generation.json` comes last and completes it."""
        generation = Generation(
            slot.number, slot.directory, artifacts.toplevel, artifacts.kernel, artifacts.initrd, cmdline
        )
        with _reported(f"generation {slot.number} cannot be written"):
            link_atomic(slot.directory / "kernel", artifacts.kernel)
            link_atomic(slot.directory / "initrd", artifacts.initrd)
            write_atomic(slot.directory / "cmdline", cmdline + "\n", mode=_PUBLIC_FILE)
            facts = facts_of(generation, artifacts.label)
            write_json(slot.directory / "generation.json", facts | about, mode=_PUBLIC_FILE)
        return generation

    def annotate(self, number: int, about: dict[str, Any]) -> None:
        """Add to, or change, what `generation.json` says."""
        with _reported(f"generation {number} cannot be annotated"):
            path = self.directory(number) / "generation.json"
            write_json(path, (read_json(path) or {}) | about, mode=_PUBLIC_FILE)

    def about(self, number: int) -> dict[str, Any]:
        """What `generation.json` says."""
        with _reported(f"generation {number} cannot be read"):
            return read_json(self.directory(number) / "generation.json") or {}

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
        with _reported(f"{link} cannot be read"):
            match = _CURRENT.fullmatch(str(link.readlink())) if link.is_symlink() else None
        return int(match[1]) if match else None

    def newest_number(self) -> int | None:
        """The last generation that was completed."""
        with _reported(f"{self.folder} cannot be read"):
            complete = [n for n in self.numbers() if (self.directory(n) / "generation.json").exists()]
        return max(complete, default=None)

    def newest_whole(self) -> Generation | None:
        """The last generation that was completed, None when it is damaged."""
        number = self.newest_number()
        with suppress(GenerationError):
            newest = None if number is None else self.read(number)
            return newest if newest is not None and not missing_from_store(newest) else None
        return None

    def read(self, number: int) -> Generation | None:
        """A kept generation, None when there is none of that number. Its store paths may have been deleted by force.

        Raises:
            GenerationError: parts of it are missing, or were edited: they are not what `generation.json` says.
        """
        directory = self.directory(number)
        with _reported(f"generation {number} cannot be read"):
            about = read_json(directory / "generation.json")
            if about is None:
                return None
            generation = linked(number, directory)
            check_unedited(generation, about)
            return generation

    def good(self) -> tuple[Generation, ...]:
        """The whole generations that ever passed verification after a boot, those that failed since at the end.

        Otherwise the newest is first.
        """
        return tuple(sorted(self._whole(self.is_good), key=lambda one: bool(self.about(one.number).get("failure"))))

    def last_verified(self) -> Generation | None:
        """The newest whole generation that passed verification, be it after a boot or after a live switch."""
        return next(self._whole(self.is_verified), None)

    def last_good(self, *, before: int | None = None) -> Generation | None:
        """The newest generation that passed verification after a boot and is still whole, its store paths included.

        With `before`, the newest of those that are older than that.
        """
        return next((one for one in self._whole(self.is_good) if before is None or one.number < before), None)

    def _whole(self, wanted: Callable[[int], bool]) -> Iterator[Generation]:
        """Those that are wanted and not damaged, the newest first."""
        for number in sorted(self.numbers(), reverse=True):
            with suppress(GenerationError):
                generation = self.read(number) if wanted(number) else None
                if generation is not None and not missing_from_store(generation):
                    yield generation

    def is_good(self, number: int) -> bool:
        """Whether the generation has passed verification after a boot. Raises GenerationError if it is damaged."""
        about = self.about(number)
        switched = about.get("action") == Action.SWITCH
        return bool(about.get("verified")) or (about.get("verdict") == Verdict.OK and not switched)

    def is_verified(self, number: int) -> bool:
        """Whether it has passed verification at all. Raises GenerationError if it is damaged."""
        return self.is_good(number) or self.about(number).get("verdict") == Verdict.OK

    def is_cut_short(self, number: int) -> bool:
        """Whether a switch to it was begun and never verified, nor was it booted. Raises GenerationError if damaged."""
        about = self.about(number)
        return about.get("action") == Action.SWITCH and not self.is_verified(number)

    def switched_on(self, number: int) -> Generation | None:
        """The generation that was booted when the guest was last switched live to this one.

        None if it never was, and when the booted one is damaged: then only a boot makes things certain again.

        Raises:
            GenerationError: this one is damaged.
        """
        booted = self.about(number).get("switched_on")
        with suppress(GenerationError):
            return self.read(booted) if isinstance(booted, int) else None
        return None

    def booted(self, toplevel: Path, cmdline: str) -> Generation | None:
        """The newest whole generation that boots just this."""
        wanted = (toplevel, cmdline)
        return next((one for one in self._whole(lambda _: True) if (one.toplevel, one.cmdline) == wanted), None)

    def number_of(self, toplevel: str) -> int | None:
        """The newest generation of a toplevel."""
        for number in sorted(self.numbers(), reverse=True):
            link = self.directory(number) / "toplevel"
            with _reported(f"generation {number} cannot be read"):
                if link.is_symlink() and str(link.readlink()) == toplevel:
                    return number
        return None

    def prune(self, keep: int, booted: int | None) -> tuple[int, ...]:
        """Let all but the newest `keep` go, never the current, the last good or the booted one; returns the gone."""
        good = self.last_good()
        held = {self.current_number(), good and good.number, booted}
        old = sorted(self.numbers(), reverse=True)[keep:]
        gone = tuple(number for number in old if number not in held)
        for number in gone:
            self.discard(number)
        return gone

    @property
    def folder(self) -> Path:
        """What holds the generations."""
        return self.state_dir / "generations"

    def directory(self, number: int) -> Path:
        """The folder of one."""
        return self.folder / str(number)

    def numbers(self) -> list[int]:
        """Of all folders that may be generations or slots; files, links and other names are foreign."""
        with _reported(f"{self.folder} cannot be read"):
            try:
                with os.scandir(self.folder) as found:
                    return [
                        int(entry.name)
                        for entry in found
                        if _NUMBER.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
                    ]
            except FileNotFoundError:
                return []


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
        raise GenerationError(f"{what}: {in_words(error)}") from error
