from __future__ import annotations

import json
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nixvm_loop.events.types import CycleFinished, CycleStarted, ErrorInfo, Event, Notice, StageFinished, Stamped
from nixvm_loop.journal import CycleNotes, Journal, LastSeen, Log
from nixvm_loop.model.values import Action, CycleRecord, Severity, Stage, Verdict

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def fail_on_event(event: Event) -> None:
    raise AssertionError(event)


def test_a_cycle_is_kept_with_its_logs_and_times(tmp_path: Path) -> None:
    """What the events said of a cycle comes back from the disk; its logs are the user's alone."""
    journal = Journal(tmp_path)
    folder = journal.begin()
    with folder.open_log("nix.log", fail_on_event) as log:
        log.write("a line")
    assert (folder.path / "nix.log").read_text() == "a line\n"
    assert stat.S_IMODE((folder.path / "nix.log").stat().st_mode) == 0o600
    notes = CycleNotes()
    events: list[Event] = [
        CycleStarted("a save"),
        StageFinished(Stage.BUILD, ok=True, seconds=1.23456),
        CycleFinished(Verdict.FAILED, Action.RESTART, 4, 9.87654, 7, ErrorInfo("no", None, ())),
    ]
    for number, event in enumerate(events):
        notes.handle(Stamped(number, NOW, "demo", folder.number, event))
    record = notes.record(folder.number)
    assert record is not None
    journal.append(record)
    assert Journal(tmp_path).last() == record
    assert record.stage_seconds == {"build": 1.235}
    assert (record.exit_code, record.error) == (7, "no")


def test_a_full_disk_ends_a_log_but_not_the_cycle() -> None:
    """The first line that does not fit is told with the file and the reason, once."""
    told: list[Event] = []
    with Log(Path("/dev/full"), told.append) as log:
        log.write("lost")
        log.write("lost, too")
    assert told == [Notice(Severity.WARNING, "/dev/full ends here: No space left on device", None)]


def test_a_line_that_a_crash_cut_short_is_passed_over(tmp_path: Path) -> None:
    """The last whole record is found."""
    journal = Journal(tmp_path)
    notes = CycleNotes(started=NOW, finished=CycleFinished(Verdict.OK, None, None, 1, 0, None))
    record = notes.record(1)
    assert record is not None
    journal.append(record)
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write('{"cycle": 2, "star')
    assert journal.last() == record
    third = replace(record, cycle=3)
    journal.append(third)
    assert journal.last() == third


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param(b'{"cycle": 2, "error": "\xff"}', id="no UTF-8"),
        pytest.param(b"\xff\xfe\x00", id="bytes"),
        pytest.param(b"[" * 100_000, id="too deep"),
        pytest.param(b"[1]", id="a list"),
    ],
)
def test_a_damaged_line_is_passed_over(tmp_path: Path, damaged: bytes) -> None:
    """Neither reading nor writing stumbles over it, and it goes when the journal is cut."""
    journal, path = Journal(tmp_path), tmp_path / "journal.jsonl"
    record = CycleNotes(started=NOW, finished=CycleFinished(Verdict.OK, None, None, 1, 0, None)).record(1)
    assert record is not None
    journal.append(record)
    with path.open("ab") as file:
        file.write(damaged + b"\n")
    assert journal.last() == record
    for number in range(2, 202):
        journal.append(replace(record, cycle=number))
    last = journal.last()
    assert last is not None
    assert last.cycle == 201
    assert len(path.read_bytes().splitlines()) < 202


@pytest.mark.parametrize(
    ("key", "value"), [("started", "2026-01-02T03:04:05"), ("started", 5), ("seconds", "long"), ("seconds", None)]
)
def test_a_line_with_other_values_is_passed_over(tmp_path: Path, key: str, value: object) -> None:
    """A time without a zone, or no number, would fail whoever reckons with it."""
    journal, path = Journal(tmp_path), tmp_path / "journal.jsonl"
    record = CycleNotes(started=NOW, finished=CycleFinished(Verdict.OK, None, None, 1, 0, None)).record(1)
    assert record is not None
    journal.append(record)
    with path.open("a") as file:
        file.write(json.dumps(json.loads(path.read_text()) | {key: value}) + "\n")
    assert journal.last() == record


def test_only_the_newest_hundred_cycles_keep_their_logs(tmp_path: Path) -> None:
    """The folders do not grow without end, and numbers go on."""
    journal = Journal(tmp_path)
    for number in range(1, 104):
        assert journal.begin().number == number
    left = sorted(int(entry.name) for entry in (tmp_path / "cycles").iterdir())
    assert left == list(range(4, 104))


def test_what_the_guest_said_is_remembered(tmp_path: Path) -> None:
    """Nothing at first, then the last words."""
    journal = Journal(tmp_path)
    assert journal.last_seen() is None
    seen = LastSeen(NOW, "b", "/nix/store/x", "/nix/store/x", 1, 2, None, None)
    journal.see(seen)
    assert journal.last_seen() == seen


def test_how_much_the_layer_grew(tmp_path: Path) -> None:
    """The difference from the cycle before in the same boot, all of it in a new boot, nothing where none looked."""
    journal = Journal(tmp_path)

    def cycle(number: int, boot: str, used: int | None, *, minutes_ago: int = 0) -> None:
        now = datetime(2026, 11, 23, 8, number, tzinfo=UTC)
        journal.see(LastSeen(now - timedelta(minutes=minutes_ago), boot, None, None, used, 1000, 1, 10))
        journal.append(CycleRecord(number, now, 1.0, Verdict.OK, Action.SWITCH, 1, 0, None))

    assert journal.layer_growth() is None
    cycle(1, "a", 100)
    assert journal.layer_growth() == 100
    cycle(2, "a", 130)
    assert journal.layer_growth() == 30
    cycle(3, "a", 400, minutes_ago=2)  # seen before the cycle began: it did not look
    assert journal.layer_growth() == 30
    cycle(4, "b", 20)
    assert journal.layer_growth() == 20
