"""The fold over nix's messages, on recorded runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from nixvm_loop import nixlog
from nixvm_loop.events.types import ActivityKind, ActivityState, BuildActivity, BuildLog, BuildProgress, Event
from nixvm_loop.nix.follow import Follower, Heard, store_name
from nixvm_loop.nixlog import Plain, Result, Said, Start, Stop

FIXTURES = Path(__file__).parents[1] / "fixtures" / "nix"
DRV = "/nix/store/04lmn957ca0852h63a63pf5kvvgyg9ij-linux-6.1.drv"
both = pytest.mark.parametrize("version", ["2.8", "2.26"])


def follow(version: str, name: str) -> tuple[Follower, list[Event], list[str]]:
    follower = Follower()
    events: list[Event] = []
    lines: list[str] = []
    for line in (FIXTURES / version / f"{name}.log").read_bytes().splitlines():
        heard = follower.take(nixlog.parse(line))
        events += heard.events
        lines += heard.lines
    return follower, events, lines


@both
def test_a_build_that_succeeds(version: str) -> None:
    """Phases, log lines and the count of derivations come out, each once."""
    follower, events, lines = follow(version, "success")
    name = "nixos-system-demo"
    builds = [event for event in events if isinstance(event, BuildActivity) and event.kind is ActivityKind.BUILD]
    assert [(event.state, event.phase) for event in builds] == [
        (ActivityState.STARTED, None),
        (ActivityState.RUNNING, "unpackPhase"),
        (ActivityState.RUNNING, "buildPhase"),
        (ActivityState.STOPPED, "buildPhase"),
    ]
    assert {event.name for event in builds} == {name}
    assert [event for event in events if isinstance(event, BuildLog)] == [
        BuildLog(name, "unpacking"),
        BuildLog(name, "compiling"),
        BuildLog(name, "to standard error"),
    ]
    progress = [event for event in events if isinstance(event, BuildProgress)]
    assert progress == [BuildProgress(0, 1, 0, 0), BuildProgress(0, 1, 1, 0), BuildProgress(1, 1, 0, 0)]
    assert [line for line in lines if line.startswith(f"{name}> ")] == [
        f"{name}> unpacking",
        f"{name}> compiling",
        f"{name}> to standard error",
    ]
    assert follower.realising
    assert follower.errors == []


@both
def test_a_build_that_fails(version: str) -> None:
    """The errors are kept in order, and the log's end under the derivation that the first one names."""
    follower, events, _ = follow(version, "dependency-failed")
    assert [error.text.partition(" '")[0] for error in follower.errors] == [
        "builder for",
        "1 dependencies of derivation",
        "1 dependencies of derivation",
    ]
    assert [(store_name(path), list(log)) for path, log in follower.logs.items()] == [
        ("units", ["preparing units", "units.sh:3: no such unit"])
    ]
    assert [event.failed for event in events if isinstance(event, BuildProgress)][-1] == 1


@both
def test_an_evaluation_that_fails_never_realises(version: str) -> None:
    """The boundary of the two stages is not crossed by an error in the Nix code."""
    follower, _, _ = follow(version, "type-error")
    assert not follower.realising
    assert len(follower.errors) == 1


@both
def test_a_noisy_log_is_harmless(version: str) -> None:
    """Escape codes and invalid bytes are gone, markup is text, of a progress line its end remains."""
    _, events, _ = follow(version, "noisy-log")
    lines = [event.line for event in events if isinstance(event, BuildLog)]
    assert [line.rstrip() for line in lines] == ["red", "invalid \ufffd\ufffd bytes", "100%", "[bold]markup[/bold]"]


@both
def test_a_trace_of_the_evaluation_is_shown(version: str) -> None:
    """What `builtins.trace` says is a line of nix's own; the list of derivations is for the log only."""
    _, events, lines = follow(version, "trace")
    assert [event for event in events if isinstance(event, BuildLog)] == [BuildLog(None, "trace: looking at the demo")]
    assert "trace: looking at the demo" in lines


@pytest.mark.parametrize(
    "text",
    [
        "warning: Git tree '/tree' is dirty",
        "warning: not writing modified lock file of flake 'git+file:///tree':\n• Updated input 'a':",
        "this derivation will be built:",
        "  /nix/store/04lmn957ca0852h63a63pf5kvvgyg9ij-linux-6.1.drv",
    ],
)
def test_what_comes_every_time_is_for_the_log_only(text: str) -> None:
    """Words that each cycle repeats are no events."""
    assert Follower().take(Said(1, text)) == Heard((), tuple(text.splitlines()))


def test_warnings_and_plain_lines_are_shown() -> None:
    """What nix says beside is an event of nobody's derivation, and a line of the log."""
    follower = Follower()
    assert follower.take(Said(1, "warning: odd")) == Heard((BuildLog(None, "warning: odd"),), ("warning: odd",))
    assert follower.take(Plain("plain")) == Heard((BuildLog(None, "plain"),), ("plain",))
    assert follower.take(Said(5, "chatter")) == Heard()
    assert list(follower.tail) == ["warning: odd", "plain"]


@pytest.mark.parametrize(
    ("start", "kind", "name"),
    [
        (Start(1, 3, 105, "building", (DRV, "", 1, 1)), ActivityKind.BUILD, "linux-6.1"),
        (Start(1, 3, 100, "", (DRV[:-4], "https://cache.example", "local")), ActivityKind.DOWNLOAD, "linux-6.1"),
        (Start(1, 3, 100, "", (DRV[:-4], "local", "daemon")), ActivityKind.COPY, "linux-6.1"),
        (Start(1, 4, 101, "", ("https://example.org/a/v1.tar.gz?x=1",)), ActivityKind.DOWNLOAD, "v1.tar.gz"),
        (Start(1, 1, 111, "waiting for lock on '/x'", ()), ActivityKind.WAIT, "waiting for lock on '/x'"),
        (Start(1, 4, 112, "fetching github input 'x'", ()), ActivityKind.DOWNLOAD, "fetching github input 'x'"),
        (Start(1, 4, 0, "copying '/tree/' to the store", ()), ActivityKind.COPY, "/tree/"),
    ],
)
def test_activities_worth_showing(start: Start, kind: ActivityKind, name: str) -> None:
    """Each kind gets a name that people can read, and ends as it began."""
    follower = Follower()
    expected = BuildActivity(1, kind, ActivityState.STARTED, name, phase=None, done=None, expected=None)
    assert follower.take(start).events == (expected,)
    (stopped,) = follower.take(Stop(1)).events
    assert isinstance(stopped, BuildActivity)
    assert (stopped.state, stopped.name) == (ActivityState.STOPPED, name)
    assert follower.take(Stop(1)) == Heard()


@pytest.mark.parametrize(
    "start",
    [
        Start(1, 4, 101, "", ("https://cache.example/x.narinfo",)),
        Start(1, 4, 101, "", ("https://cache.example/nar/x.nar.xz",)),
        Start(1, 6, 0, "querying info about missing paths", ()),
        Start(1, 1, 111, "", ()),
        Start(1, 3, 105, "", ()),
        Start(1, 3, 113, "of the future", ("/x", 0)),
    ],
)
def test_activities_that_are_left_out(start: Start) -> None:
    """A cache's own traffic, nameless waits and unknown kinds are no events."""
    assert Follower().take(start).events == ()


def test_a_flood_of_progress_becomes_a_hundred_events() -> None:
    """A download that reports each chunk does not flood the stream; its end is always told."""
    follower = Follower()
    follower.take(Start(1, 4, 101, "", ("https://example.org/file",)))
    told = [
        event for done in range(1, 100_001) for event in follower.take(Result(1, 105, (done, 100_000, 0, 0))).events
    ]
    assert 100 <= len(told) <= 102
    assert isinstance(told[-1], BuildActivity)
    assert (told[-1].done, told[-1].expected) == (100_000, 100_000)
    assert follower.take(Result(1, 105, (100_000, 100_000, 0, 0))) == Heard()


def test_the_log_of_a_derivation_is_kept_to_its_end() -> None:
    """Only the last twenty lines stay in memory, and they outlive the activity."""
    follower = Follower()
    follower.take(Start(1, 3, 105, "building", (DRV, "", 1, 1)))
    for number in range(100):
        follower.take(Result(1, 101, (f"line {number}",)))
    follower.take(Stop(1))
    assert list(follower.logs[DRV]) == [f"line {number}" for number in range(80, 100)]


@pytest.mark.parametrize("fields", [(), ("x",), (1,), (None, 2), ({}, [])])
def test_news_of_an_unknown_shape_is_passed_over(fields: tuple[object, ...]) -> None:
    """Fields that are not what they were in known versions do no harm."""
    follower = Follower()
    follower.take(Start(1, 0, 104, "", ()))
    follower.take(Start(2, 4, 101, "", ("https://example.org/file",)))
    for activity in (1, 2, 3):
        assert follower.take(Result(activity, 105, fields)) == Heard()
