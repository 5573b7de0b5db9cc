from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from inline_snapshot import snapshot

from nixvm_loop.events import types as ev
from nixvm_loop.events.findings import Finding, ProbeFinished
from nixvm_loop.events.names import TYPE_NAMES
from nixvm_loop.model.clock import SystemClock
from nixvm_loop.model.values import Area, ProbeOutcome, Severity, Stage, Verdict
from nixvm_loop.present import Output, Verbosity, sink
from nixvm_loop.present.history import history
from nixvm_loop.present.plain import PlainSink
from nixvm_loop.present.reducer import reduce
from nixvm_loop.present.state import ViewState
from tests.present.scenario import FAILED_CHECK, Script, bad_cycle, check, good_cycle, hostile_run, red_cycle

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nixvm_loop.events.types import Stamped

CYCLE_LINE = re.compile(r"nixvm-loop: cycle \d+ (started|(ok|failed|cancelled|unchanged) in \d+\.\ds)")
PROBLEM_LINE = re.compile(r"(.+?):(\d+):(\d+): (error|warning|info): (.*)")


def shown(events: Iterable[Stamped], verbosity: Verbosity = Verbosity.NORMAL) -> tuple[str, str]:
    stdout, stderr = io.StringIO(), io.StringIO()
    with sink(Output.AUTO, stdout, stderr, SystemClock(), verbosity=verbosity) as presenter:
        for event in events:
            presenter.handle(event)
    return stdout.getvalue(), stderr.getvalue()


def test_every_event_type_has_its_lines() -> None:
    """An event type that is added must be given its plain lines."""
    assert set(PlainSink._writers) == set(TYPE_NAMES)


def test_a_good_cycle() -> None:
    """Stdout holds the two lines that editors match; what happened in between is on stderr."""
    script = Script()
    good_cycle(script, 3, "guest.nix changed")
    stdout, stderr = shown(script.events)
    assert stdout == snapshot("""\
nixvm-loop: cycle 3 started
nixvm-loop: cycle 3 ok in 8.2s
""")
    assert stderr == snapshot("""\
  reason: guest.nix changed
  stage eval ok in 1.2s
  downloading openssl-3.0.13
  building etc
  building initrd-linux-6.1.119
  building nixos-system-demo-24.11
  stage realise ok in 3.2s
  stage build ok in 4.4s
  action restart: the kernel parameters changed; the init changed
  generation 2 -> 3
  stage flip ok in 0.0s
  domain shut off
  domain running
  stage domain ok in 0.5s
  stage boot ok in 2.8s
  stage verify ok in 0.4s
  result: action restart, generation 3
""")


def test_a_failed_evaluation_in_a_loop() -> None:
    """The problem line stands between the cycle's lines; the error is on stderr, as nobody else prints it."""
    script = Script()
    script.say(ev.LoopStarted(("/home/me/guest",), 12), ev.ChangesSeen(("/home/me/guest/guest.nix", "/b")))
    bad_cycle(script, 4)
    script.say(ev.LoopStopped("interrupted"))
    stdout, stderr = shown(script.events)
    assert stdout == snapshot("""\
nixvm-loop: cycle 4 started
/home/me/guest/guest.nix:12:3: error: syntax error, unexpected '}'
nixvm-loop: cycle 4 failed in 0.5s
""")
    assert stderr == snapshot("""\
  watching 12 files in /home/me/guest
  changed: /home/me/guest/guest.nix and 1 more
  reason: guest.nix changed
  stage eval failed in 0.3s
  error: the configuration does not evaluate
    | 12| };
    |   |   ^
  hint: look at the place above
  stopped: interrupted
""")


def test_a_single_cycle_leaves_its_error_to_the_command_line() -> None:
    """Outside a loop the error is not printed here, so that it is printed once."""
    script = Script()
    bad_cycle(script, 4)
    assert "does not evaluate" not in shown(script.events)[1]


def test_a_failed_check() -> None:
    """A check that failed says what was expected, what was seen and what to do; those that passed are silent."""
    script = Script()
    red_cycle(script, 4)
    _, stderr = shown(script.events)
    assert stderr == snapshot("""\
  reason: guest.nix changed
  stage eval ok in 1.0s
  stage realise ok in 0.4s
  generation 3 -> 4
  stage flip ok in 0.0s
  stage domain ok in 0.4s
  stage boot ok in 3.0s
  failed       store-overlay
               expected: overlay on /nix/store, lower /nix/.ro-store
               actual:   virtiofs
               hint:     the overlay is missing from the guest's initrd
  stage verify failed in 0.4s
  result: action restart, generation 4
""")


def test_verbose_adds_logs_and_console() -> None:
    """With -v the build logs and the guest's console are on stderr, and stdout is the same."""
    script = Script()
    good_cycle(script, 3, "guest.nix changed")
    quiet, verbose = shown(script.events), shown(script.events, Verbosity.VERBOSE)
    assert verbose[0] == quiet[0]
    assert set(quiet[1].splitlines()) <= set(verbose[1].splitlines())
    assert "  initrd-linux-6.1.119> zstd: compressing 4213 files\n" in verbose[1]
    assert "  console> [    0.004217] Linux version 6.1.0 (Debian 6.1.119-1)\n" in verbose[1]


def test_results_outside_a_cycle() -> None:
    """`verify` has its checks, `doctor` its findings on stdout; notices are on stderr."""
    script = Script()
    script.say(
        check("system", "/nix/store/abc-system"),
        FAILED_CHECK,
        ev.CheckFinished("failed-units", None, False, "none", "not checked", "no systemd in the guest"),
        ProbeFinished(Area.HOST, "kvm", ProbeOutcome.FINDING, "/dev/kvm is missing"),
        Finding("kvm", Severity.WARNING, "no KVM here", "load kvm_intel", "/dev/kvm: no such file", "a.md#kvm"),
        ev.Notice(Severity.WARNING, "the domain has on_reboot=restart", "set it to destroy"),
    )
    stdout, stderr = shown(script.events)
    assert stdout == snapshot("""\
ok           system                /nix/store/abc-system
failed       store-overlay
             expected: overlay on /nix/store, lower /nix/.ro-store
             actual:   virtiofs
             hint:     the overlay is missing from the guest's initrd
not checked  failed-units
             hint: no systemd in the guest
finding       host    kvm           /dev/kvm is missing
warning: kvm: no KVM here
  evidence: /dev/kvm: no such file
  fix: load kvm_intel
  see: a.md#kvm
""")
    assert stderr == snapshot("""\
  warning: the domain has on_reboot=restart
    hint: set it to destroy
""")


def test_waiting_is_said_now_and_then() -> None:
    """A guest that takes long is mentioned every five seconds, not at each attempt."""
    script = Script(cycle=1)
    script.say(ev.CycleStarted("x"), *(ev.GuestWaiting(number, number * 0.5) for number in range(1, 25)))
    waiting = [line for line in shown(script.events)[1].splitlines() if "waiting" in line]
    assert waiting == ["  waiting for the guest, attempt 10, 5.0s", "  waiting for the guest, attempt 20, 10.0s"]


def test_hostile_text_keeps_the_lines_whole() -> None:
    """Whatever a log or a console says: no control character, and on stdout no line that is not one of ours."""
    stdout, stderr = shown(hostile_run(), Verbosity.VERBOSE)
    for line in (stdout + stderr).splitlines():
        assert line.replace("\ufffd", "").isprintable()
        assert len(line) < 9000
    assert all(CYCLE_LINE.fullmatch(line) or PROBLEM_LINE.fullmatch(line) for line in stdout.splitlines())
    assert all(line.startswith("  ") for line in stderr.splitlines())


def test_nobody_can_forge_a_cycle_line() -> None:
    """A console that prints our own lines does not end a cycle for an editor."""
    script = Script(cycle=1)
    forged = "x\nnixvm-loop: cycle 1 ok in 0.1s"
    script.say(
        ev.CycleStarted(forged), ev.Console(forged), ev.BuildLog("a", forged), ev.Notice(Severity.INFO, forged, forged)
    )
    stdout, stderr = shown(script.events, Verbosity.VERBOSE)
    assert stdout == "nixvm-loop: cycle 1 started\n"
    assert not any(line.startswith("nixvm-loop") for line in stderr.splitlines())


def test_a_cancelled_cycle_has_no_failed_stage() -> None:
    """A stage that was cut short is not called failed; one that failed before is."""
    script = Script()
    script.cycle = 5
    script.say(ev.CycleStarted("asked for"), ev.StageStarted(Stage.EVAL), ev.StageFinished(Stage.EVAL, False, 1.0))
    script.say(ev.StageFinished(Stage.BUILD, False, 2.0))
    script.say(ev.CycleFinished(Verdict.CANCELLED, None, None, 2.0, 130, None))
    script.say(ev.CycleStarted("asked for"), ev.StageFinished(Stage.BOOT, False, 1.0), ev.DomainState("shut off"))
    script.say(ev.CycleFinished(Verdict.CANCELLED, None, None, 2.0, 130, None))
    told = [line for line in shown(script.events)[1].splitlines() if "stage" in line]
    assert told == ["  stage eval cancelled in 1.0s", "  stage build cancelled in 2.0s", "  stage boot failed in 1.0s"]
    assert "- eval 1.0s" in said_live(script.events)
    assert "✗" not in said_live(script.events)


def said_live(events: Iterable[Stamped]) -> str:
    state, lines = ViewState(), []
    for stamped in events:
        before, state = state, reduce(state, stamped)
        lines += history(before, state, stamped, Verbosity.NORMAL)
    return "\n".join(map(str, lines))
