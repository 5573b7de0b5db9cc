from __future__ import annotations

import stat
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from nixvm_loop.events.types import CycleFinished, CycleStarted, ErrorInfo, Event, Notice, StageFinished, Stamped
from nixvm_loop.journal import CycleNotes, Journal, LastSeen, Log
from nixvm_loop.model.values import Action, Severity, Stage, Verdict

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
