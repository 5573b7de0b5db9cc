from __future__ import annotations

import json
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot

from nixvm_loop.events import findings
from nixvm_loop.events import generations as gen
from nixvm_loop.events import types as ev
from nixvm_loop.events.codec import decode, encode
from nixvm_loop.events.names import TYPE_NAMES
from nixvm_loop.events.types import Stamped
from nixvm_loop.model.values import Action, Area, ProbeOutcome, Severity, Stage, Verdict

TIME = datetime(2026, 11, 23, 8, 0, 1, 250000, tzinfo=UTC)
HEAD = ("schema", "seq", "time", "guest", "cycle", "type")
NOTHING = ev.Status(
    "demo",
    "shut off",
    None,
    None,
    None,
    None,
    None,
    None,
    None,
    None,
    None,
    None,
    None,
    None,
    None,
    None,
    None,
    None,
    None,
)
INFO = gen.GenerationInfo(
    7, "2026-11-23T08:00:01Z", 2.5, Verdict.OK, Action.RESTART, "changed: a.nix", ("/home/me/a.nix",), "c0ffee", True,
    12, "1", "/nix/store/a", "/nix/store/k", "/nix/store/i", "quiet", "/state/log", True, True, True, True, True, None,
)  # fmt: skip
HISTORY = gen.History(7, 7, 7, 7, "/nix/store/a", gen.BootedSource.GUEST, 0.0, None, ("a stray file",), (INFO,))
DIFFERENCE = gen.Difference(
    6, 7, "/nix/store/a", "/nix/store/b", "k", "k", "i", "i", ("debug",), ("quiet",), False,
    (gen.Change("sshd.service", gen.ChangeKind.CHANGED),), (gen.Change("motd", gen.ChangeKind.ADDED),), None,
    ("hello: 1 → 2",),
)  # fmt: skip
DEFINITION = gen.DefinitionChange("demo", ("--- before", "+++ after", "@@ -1 +1 @@", "-<a/>", "+<b/>"))
EXAMPLES: tuple[ev.Event, ...] = (
    ev.LoopStarted(("/home/me/guest",), 12),
    ev.ChangesSeen(("/home/me/guest/guest.nix",)),
    ev.CycleStarted("guest.nix changed"),
    ev.StageStarted(Stage.EVAL),
    ev.BuildProgress(1, 4, 2, 0),
    ev.BuildActivity(2**40, ev.ActivityKind.DOWNLOAD, ev.ActivityState.RUNNING, "openssl", None, 5, 9),
    ev.BuildLog(None, "copying"),
    ev.DiagnosticSeen("/home/me/guest/guest.nix", 12, 3, Severity.ERROR, "syntax error"),
    ev.StageFinished(Stage.EVAL, True, 1.25),
    ev.ActionChosen(Action.RESTART, ("the init changed",)),
    ev.GenerationFlipped(None, 1),
    ev.DomainState("running"),
    ev.Console("demo login: "),
    ev.GuestWaiting(2, 1.5),
    ev.SwitchLog("starting the following units: a.service"),
    ev.LoopPaused(paused=True, waiting=2),
    ev.OrderNoted("restart"),
    ev.CheckFinished("store-share", True, True, "virtiofs", "virtiofs", None),
    ev.RolledBack(8, 7),
    findings.ProbeFinished(Area.HOST, "kvm", ProbeOutcome.FINDING, "no KVM"),
    findings.Finding("kvm", Severity.WARNING, "no KVM", "load kvm_intel", "none", "a.md#kvm"),
    ev.Notice(Severity.INFO, "taken over", None),
    NOTHING,
    HISTORY,
    DIFFERENCE,
    DEFINITION,
    ev.CycleFinished(Verdict.FAILED, None, None, 1.5, 3, ev.ErrorInfo("no", "look", ("one", "two"))),
    ev.LoopStopped("interrupted"),
)


def stamped(event: ev.Event) -> Stamped:
    return Stamped(12, TIME, "demo", 3, event)


def body(event: ev.Event) -> str:
    """The line without the keys that all events have."""
    head = '{"schema":1,"seq":12,"time":"2026-11-23T08:00:01.250Z","guest":"demo","cycle":3,"type":"'
    line = encode(stamped(event))
    assert line.startswith(head)
    return line.removeprefix(head)


def test_every_type_has_an_example() -> None:
    """The contract below is complete: a type that is added must be written out."""
    assert {type(event) for event in EXAMPLES} == set(TYPE_NAMES)
    assert len(set(TYPE_NAMES.values())) == len(TYPE_NAMES)


def test_lines_as_programs_read_them() -> None:
    """The keys and forms of every type, word for word: users' scripts depend on them. Add, never rename."""
    lines = [body(event) for event in EXAMPLES if event not in {NOTHING, HISTORY, DIFFERENCE}]
    assert "\n".join(lines) == snapshot("""\
loop_started","roots":["/home/me/guest"],"files":12}
changes_seen","paths":["/home/me/guest/guest.nix"]}
cycle_started","reason":"guest.nix changed"}
stage_started","stage":"eval"}
build_progress","done":1,"expected":4,"running":2,"failed":0}
build_activity","id":1099511627776,"kind":"download","state":"running","name":"openssl","phase":null,"done":5,"expected":9}
build_log","derivation":null,"line":"copying"}
diagnostic","file":"/home/me/guest/guest.nix","line":12,"column":3,"severity":"error","message":"syntax error"}
stage_finished","stage":"eval","ok":true,"seconds":1.25}
action_chosen","action":"restart","reasons":["the init changed"]}
generation_flipped","from":null,"to":1}
domain_state","state":"running"}
console","line":"demo login: "}
guest_waiting","attempt":2,"seconds":1.5}
switch_log","line":"starting the following units: a.service"}
loop_paused","paused":true,"waiting":2}
order_noted","order":"restart"}
check_finished","check":"store-share","ok":true,"required":true,"expected":"virtiofs","actual":"virtiofs","hint":null}
rolled_back","from":8,"to":7}
probe_finished","area":"host","probe":"kvm","outcome":"finding","said":"no KVM"}
finding","id":"kvm","severity":"warning","message":"no KVM","fix":"load kvm_intel","evidence":"none","link":"a.md#kvm"}
notice","severity":"info","message":"taken over","hint":null}
definition_change","domain":"demo","lines":["--- before","+++ after","@@ -1 +1 @@","-<a/>","+<b/>"]}
cycle_finished","verdict":"failed","action":null,"generation":null,"seconds":1.5,"exit_code":3,"error":{"message":"no","hint":"look","details":["one","two"]}}
loop_stopped","reason":"interrupted"}\
""")


def test_status_as_programs_read_it() -> None:
    """The keys of `status`, all of them even when nothing is known."""
    assert body(NOTHING) == (
        'status","domain":"demo","state":"shut off","domain_error":null,"built":null,"current":null,"booted":null,'
        '"booted_system":null,"runs":null,"runs_system":null,"booted_age_seconds":null,"last_verdict":null,"last_cycle":null,'
        '"last_cycle_age_seconds":null,"last_error":null,"store_used_bytes":null,"store_size_bytes":null,'
        '"store_used_inodes":null,"store_inodes":null,"holder":null,"store_grown_bytes":null,'
        '"store_nearly_full":null}'
    )


def test_history_as_programs_read_it() -> None:
    """The keys of `history`, and those of each generation in it."""
    assert body(HISTORY) == (
        'history","built":7,"current":7,"last_good":7,"booted":7,"booted_system":"/nix/store/a",'
        '"booted_source":"guest","booted_age_seconds":0.0,"booted_problem":null,"problems":["a stray file"],'
        '"generations":[{"number":7,"created":"2026-11-23T08:00:01Z","age_seconds":2.5,"verdict":"ok",'
        '"action":"restart","reason":"changed: a.nix","changes":["/home/me/a.nix"],"revision":"c0ffee","dirty":true,'
        '"cycle":12,"label":"1","toplevel":"/nix/store/a","kernel":"/nix/store/k","initrd":"/nix/store/i",'
        '"cmdline":"quiet","console":"/state/log","built":true,"current":true,"booted":true,"runs":true,"last_good":true,'
        '"problem":null}]}'
    )


def test_difference_as_programs_read_it() -> None:
    """The keys of `difference`, and those of each change in it."""
    assert body(DIFFERENCE) == (
        'difference","before":6,"after":7,"toplevel_before":"/nix/store/a","toplevel_after":"/nix/store/b",'
        '"kernel_before":"k","kernel_after":"k","initrd_before":"i","initrd_after":"i","parameters_added":["debug"],'
        '"parameters_removed":["quiet"],"parameters_reordered":false,'
        '"units":[{"name":"sshd.service","change":"changed"}],"etc":[{"name":"motd","change":"added"}],'
        '"etc_incomplete":null,"closure":["hello: 1 → 2"]}'
    )


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: TYPE_NAMES[type(event)])
def test_lines_decode_to_what_was_encoded(event: ev.Event) -> None:
    """A recording gives back the very events."""
    assert decode(encode(stamped(event))) == stamped(event)


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: TYPE_NAMES[type(event)])
def test_every_key_is_always_there(event: ev.Event) -> None:
    """A program never asks whether a key exists: the common ones come first, what is unknown is null."""
    keys = list(json.loads(encode(Stamped(1, TIME, None, None, event))))
    assert keys == [*HEAD, *(field.name.rstrip("_") for field in fields(event))]


def test_error_is_null_or_whole() -> None:
    """`error` has message, hint and details, or is null."""
    failed = json.loads(encode(stamped(EXAMPLES[-2])))
    assert failed["error"] == {"message": "no", "hint": "look", "details": ["one", "two"]}
    done = json.loads(encode(stamped(ev.CycleFinished(Verdict.OK, Action.NONE, 7, 1.0, 0, None))))
    assert done["error"] is None


def test_times_are_utc() -> None:
    """A time from another zone is told in UTC, to the millisecond."""
    there = TIME.astimezone(timezone(timedelta(hours=5, minutes=30)))
    line = encode(Stamped(1, there, None, None, ev.LoopStopped("x")))
    assert json.loads(line)["time"] == "2026-11-23T08:00:01.250Z"


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001  # hypothesis adds the zone
    lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000)
)
st.register_type_strategy(str, TEXT)
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))


@given(
    event=st.one_of(*(st.from_type(cls) for cls in TYPE_NAMES)),
    seq=st.integers(min_value=0),
    time=TIMES,
    guest=st.none() | TEXT,
    cycle=st.none() | st.integers(min_value=1),
)
def test_round_trip(event: ev.Event, seq: int, time: datetime, guest: str | None, cycle: int | None) -> None:
    """Any event, whatever its texts and numbers, is one line and comes back the same."""
    given_event = Stamped(seq, time, guest, cycle, event)
    line = encode(given_event)
    assert "\n" not in line
    assert "\x1b" not in line
    assert decode(line) == given_event


def test_lone_surrogates_become_valid_text() -> None:
    """Bytes of a log that are no UTF-8 do not make the line unreadable."""
    line = encode(stamped(ev.Console("a\udc80b")))
    assert json.loads(line.encode("utf-8"))["line"].replace("\ufffd", "") == "ab"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"schema":2}',
        '{"schema":1}',
        '{"schema":1,"type":"unknown"}',
        '{"schema":1,"type":[]}',
        '{"schema":1,"type":"console","line":"x","seq":1,"time":7,"guest":null,"cycle":null}',
        '{"schema":1,"type":"console"}',
        '{"schema":1,"type":"console","line":7}',
        '{"schema":1,"type":"console","line":"x"}',
        '{"schema":1,"type":"stage_started","stage":"nap","seq":1,"time":"2026-11-23T08:00:00Z","guest":null,"cycle":null}',
        '{"schema":1,"type":"console","line":"x","seq":1,"time":"yesterday","guest":null,"cycle":null}',
    ],
)
def test_what_is_no_event_is_refused(line: str) -> None:
    """A line that is not of this schema is a ValueError, never another exception."""
    with pytest.raises(ValueError):  # noqa: PT011  # the message is the JSON reader's or pydantic's
        decode(line)
