"""Cycles on disk: a folder of logs for each, one line each in the journal, and the guest as it was last seen."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Final, Self

from nixvm_loop.errors import GenerationError
from nixvm_loop.events.types import CycleFinished, CycleStarted, Notice, StageFinished, Stamped
from nixvm_loop.files import PRIVATE_FILE, place_hint, read_json, write_atomic, write_json
from nixvm_loop.model.values import Action, CycleRecord, Severity, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nixvm_loop.events.types import Emit

_KEPT_CYCLES: Final = 100


@dataclass(frozen=True, slots=True)
class LastSeen:
    """What the guest said of itself when it was last asked. Sizes in bytes; None where it could not say."""

    time: datetime
    boot_id: str | None
    booted_system: str | None
    current_system: str | None
    store_used_bytes: int | None
    store_size_bytes: int | None
    store_used_inodes: int | None
    store_inodes: int | None


class Log:
    """A private text file. A disk that cannot take any more ends the log, which is told once, but not the cycle."""

    def __init__(self, path: Path, emit: Emit) -> None:
        self._path, self._emit = path, emit
        with _reported(f"{path} cannot be written"):
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._descriptor: int | None = os.open(path, flags, PRIVATE_FILE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def write(self, line: str) -> None:
        """Add a line; its end is added."""
        if self._descriptor is None:
            return
        try:
            os.write(self._descriptor, (line + "\n").encode(errors="replace"))
        except OSError as error:
            self._close()
            self._emit(Notice(Severity.WARNING, f"{self._path} ends here: {error.strerror}", None))

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@dataclass(frozen=True, slots=True)
class CycleFolder:
    """Where a cycle's logs go."""

    number: int
    path: Path

    def open_log(self, name: str, emit: Emit) -> Log:
        """A log for lines; raises GenerationError when it cannot be opened."""
        return Log(self.path / name, emit)


@dataclass(frozen=True, slots=True)
class Journal:
    """The journal of one guest. All writing but `see` wants the guest's lock held."""

    state_dir: Path

    def begin(self) -> CycleFolder:
        """A new folder for the next cycle; the oldest are let go."""
        folder = self.state_dir / "cycles"
        with _reported(f"{folder} cannot be written"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            numbers = sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdecimal())
            for old in numbers[: -_KEPT_CYCLES + 1]:
                shutil.rmtree(folder / str(old))
            cycle = CycleFolder(max(numbers, default=0) + 1, folder / str(max(numbers, default=0) + 1))
            cycle.path.mkdir(mode=0o700)
            return cycle

    def append(self, record: CycleRecord) -> None:
        """Add a finished cycle, and how full the guest's writable layer was at its end."""
        seen = self.last_seen()
        if seen is not None and seen.time >= record.started:
            record = replace(record, store_used_bytes=seen.store_used_bytes, boot_id=seen.boot_id)
        line = json.dumps(asdict(record) | {"started": record.started.isoformat()}, separators=(",", ":"))
        path = self.state_dir / "journal.jsonl"
        with _reported(f"{path} cannot be written"):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, PRIVATE_FILE)
            with os.fdopen(descriptor, "ab+") as file:
                cut_short = file.seek(0, os.SEEK_END) > 0 and os.pread(descriptor, 1, file.tell() - 1) != b"\n"
                file.write((b"\n" if cut_short else b"") + line.encode() + b"\n")
            lines = path.read_bytes().splitlines(keepends=True)
            if len(lines) > 2 * _KEPT_CYCLES:
                write_atomic(path, b"".join(lines[-_KEPT_CYCLES:]).decode(errors="replace"))

    def last(self) -> CycleRecord | None:
        """The newest finished cycle; a line that is damaged or cut short is passed over."""
        return next(self._latest(), None)

    def _latest(self) -> Iterator[CycleRecord]:
        path = self.state_dir / "journal.jsonl"
        if not path.exists():
            return
        with _reported(f"{path} cannot be read"):
            lines = path.read_bytes().splitlines()
        yield from (record for line in reversed(lines) if (record := _record(line)) is not None)

    def layer_growth(self) -> int | None:
        """By how many bytes the guest's writable layer grew in the last cycle that looked at it; None if none did.

        A boot begins with an empty layer, as far as is known. Raises GenerationError when the journal cannot be read.
        """
        looked = (record for record in self._latest() if record.store_used_bytes is not None)
        newest, before = next(looked, None), next(looked, None)
        if newest is None or newest.store_used_bytes is None:
            return None
        same_boot = before is not None and before.boot_id == newest.boot_id
        return newest.store_used_bytes - ((before and before.store_used_bytes) or 0 if same_boot else 0)

    def see(self, seen: LastSeen) -> None:
        """Remember what the guest said."""
        with _reported("what the guest said cannot be kept"):
            write_json(self.state_dir / "seen.json", asdict(seen) | {"time": seen.time.isoformat()})

    def last_seen(self) -> LastSeen | None:
        """What the guest said when it was last asked; None if it never was, or the memory of it is damaged."""
        try:
            value = read_json(self.state_dir / "seen.json")
            return None if value is None else LastSeen(**value | {"time": _moment(value["time"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def seen_in_run(self, mark: str) -> bool:
        """Whether the guest was last seen in the run of this mark, which nixvm-loop started."""
        seen, file = self.last_seen(), self.state_dir / "started.json"
        try:
            return seen is not None and self.started(mark) is not None and seen.time.timestamp() > file.stat().st_mtime
        except OSError:
            return False

    def keep_started(self, mark: str, definition: str) -> None:
        """Remember the definition that the run of this mark was started with. Raises GenerationError."""
        with _reported("the definition that was started cannot be kept"):
            write_json(self.state_dir / "started.json", {"mark": mark, "definition": definition})

    def started(self, mark: str) -> str | None:
        """The definition that the run of this mark was started with; None when that is not known."""
        try:
            value = read_json(self.state_dir / "started.json") or {}
        except (OSError, ValueError):
            return None
        definition = value.get("definition")
        return definition if value.get("mark") == mark and isinstance(definition, str) else None


@dataclass(slots=True)
class CycleNotes:
    """A sink that gathers what the journal keeps of one cycle."""

    started: datetime | None = None
    stage_seconds: dict[str, float] = field(default_factory=dict)
    finished: CycleFinished | None = None

    def handle(self, stamped: Stamped) -> None:
        """Take one event."""
        match stamped.event:
            case CycleStarted():
                self.started = stamped.time
            case StageFinished(stage, _, seconds):
                # A cycle that rolls back goes through some of them twice.
                self.stage_seconds[stage] = round(self.stage_seconds.get(stage, 0.0) + seconds, 3)
            case CycleFinished() as finished:
                self.finished = finished
            case _:
                pass

    def record(self, cycle: int) -> CycleRecord | None:
        """The finished cycle, None while it is not."""
        if self.started is None or self.finished is None:
            return None
        end = self.finished
        return CycleRecord(
            cycle=cycle,
            started=self.started,
            seconds=round(end.seconds, 3),
            verdict=end.verdict,
            action=end.action,
            generation=end.generation,
            exit_code=end.exit_code,
            error=end.error.message if end.error else None,
            stage_seconds=self.stage_seconds,
        )


def _record(line: bytes) -> CycleRecord | None:
    try:
        value = json.loads(line)
        return CycleRecord(
            **value
            | {
                "started": _moment(value["started"]),
                "seconds": float(value["seconds"]),
                "verdict": Verdict(value["verdict"]),
                "action": value["action"] and Action(value["action"]),
            }
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return moment


@contextmanager
def _reported(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise GenerationError(f"{what}: {error.strerror or error}", hint=place_hint(error)) from error
