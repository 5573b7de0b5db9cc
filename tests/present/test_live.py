from __future__ import annotations

import asyncio
import logging
import os
import pty
import re
import struct
import sys
import termios
from contextlib import contextmanager
from datetime import UTC, datetime
from fcntl import ioctl
from typing import TYPE_CHECKING

import pytest
from inline_snapshot import snapshot

from nixvm_loop.events import types as ev
from nixvm_loop.events.generations import BootedSource, GenerationInfo, History
from nixvm_loop.events.types import Stamped
from nixvm_loop.model.clock import SystemClock
from nixvm_loop.model.values import Stage
from nixvm_loop.present import Output, Verbosity, resolve, sink
from nixvm_loop.present.live import LiveSink
from nixvm_loop.present.reducer import reduce
from tests.present.scenario import FAILED_CHECK, START, Script, activity, check, good_cycle, hostile_run, whole_run
from tests.present.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from nixvm_loop.present.state import ViewState

ONE = GenerationInfo(
    7, None, 3.0, None, None, "asked for", (), None, None, 1, "1", "/s", "/k", "/i", "quiet", None,
    True, True, True, True, False, None,
)  # fmt: skip
CLOCK_TIME = re.compile(r"\d\d:\d\d:\d\d")


class Terminal:
    """A real pseudo-terminal; `screen` shows what was written to it so far."""

    def __init__(self, reader: int, stream: TextIO) -> None:
        self.reader = reader
        self.stream = stream
        self.written = ""
        self.screen = Screen(80, 24)

    def read(self) -> str:
        """What was written since the last call; the screen has taken it."""
        os.set_blocking(self.reader, False)
        data = b""
        while True:
            try:
                data += os.read(self.reader, 65536)
            except BlockingIOError:
                break
        text = data.decode().replace("\r\n", "\n")
        self.screen.feed(text)
        return text


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("TERM", "xterm-256color")
    reader, writer = pty.openpty()
    ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with os.fdopen(writer, "w") as stream:
        yield Terminal(reader, stream)
    os.close(reader)


@contextmanager
def live(terminal: Terminal) -> Iterator[LiveSink]:
    with sink(Output.AUTO, terminal.stream, sys.stderr, SystemClock()) as presenter:
        assert isinstance(presenter, LiveSink)
        yield presenter


def now(event: ev.Event, cycle: int | None = 1) -> Stamped:
    return Stamped(1, datetime.now(UTC), "demo", cycle, event)


async def test_whole_run_leaves_a_readable_history(terminal: Terminal) -> None:
    """After a loop its cycles and errors stand on the terminal, nothing of the region is left, the cursor is back."""
    with live(terminal) as presenter:
        for event in whole_run():
            presenter.handle(event)
    terminal.read()
    assert CLOCK_TIME.sub("HH:MM:SS", terminal.screen.whole()) == snapshot("""\
✓ cycle 1 ok in 8.2s, restart, generation 1  HH:MM:SS
  eval 1.2s  realise 3.2s  flip 0.0s  domain 0.5s  boot 2.8s  verify 0.4s
✗ cycle 2 failed in 0.5s  HH:MM:SS
  ✗ eval 0.3s
/home/me/guest/guest.nix:12:3: error: syntax error, unexpected '}'
error: the configuration does not evaluate
  | 12| };
  |   |   ^
hint: look at the place above
✓ cycle 3 ok in 8.2s, restart, generation 3  HH:MM:SS
  eval 1.2s  realise 3.2s  flip 0.0s  domain 0.5s  boot 2.8s  verify 0.4s
✗ cycle 4 failed in 5.3s, restart, generation 4  HH:MM:SS
  eval 1.0s  realise 0.4s  flip 0.0s  domain 0.4s  boot 3.0s  ✗ verify 0.4s
✗ store-overlay
  expected: overlay on /nix/store, lower /nix/.ro-store
  actual:   virtiofs
  hint:     the overlay is missing from the guest's initrd
error: store-overlay: the guest does not run what was built
hint: see the check above
stopped: interrupted\
""")
    assert terminal.screen.cursor
    assert terminal.screen.wraps


async def test_the_last_state_is_drawn_soon(terminal: Terminal) -> None:
    """Events that come faster than frames are drawn together, a little later and completely."""
    with live(terminal) as presenter:
        presenter.handle(now(ev.CycleStarted("first")))
        for number in range(200):
            presenter.handle(now(ev.BuildProgress(number, 200, 1, 0)))
            presenter.handle(now(ev.StageStarted(Stage.REALISE)))
        assert "199 of 200" not in terminal.read()
        await asyncio.sleep(0.2)
        frames = terminal.read().count("\x1b[?2026h")
        assert frames == 1
        assert "199 of 200 built" in terminal.screen.shown()


async def test_a_noisy_build_costs_no_drawing(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of thousands of lines each builder's last before a frame is taken; what follows finds them taken."""
    taken = 0

    def counted(state: ViewState, stamped: Stamped) -> ViewState:
        nonlocal taken
        taken += isinstance(stamped.event, ev.BuildLog)
        return reduce(state, stamped)

    monkeypatch.setattr("nixvm_loop.present.live.reduce", counted)
    with live(terminal) as presenter:
        presenter.handle(now(ev.CycleStarted("first")))
        presenter.handle(now(ev.StageStarted(Stage.REALISE)))
        for number, name in enumerate(("one", "two")):
            started = activity(number, ev.ActivityKind.BUILD, ev.ActivityState.STARTED, name)
            presenter.handle(now(started))
        for number in range(5_000):
            presenter.handle(now(ev.BuildLog("one", f"line {number} of one")))
            presenter.handle(now(ev.BuildLog("two", f"line {number} of two")))
        await asyncio.sleep(0.2)
        terminal.read()
        assert "line 4999 of one" in terminal.screen.shown()
        assert "line 4999 of two" in terminal.screen.shown()
        assert taken < 20
        presenter.handle(now(ev.BuildLog("one", "the very last")))
        presenter.handle(now(ev.StageStarted(Stage.FLIP)))
        assert presenter._state.cycle is not None
        assert {view.line for view in presenter._state.cycle.activities} == {"the very last", "line 4999 of two"}


async def test_idle_draws_nothing(terminal: Terminal) -> None:
    """Between cycles no timer is pending, and a guest that talks on its console causes no frame."""
    with live(terminal) as presenter:
        presenter.handle(now(ev.LoopStarted(("/r",), 3), None))
        presenter.handle(now(ev.DomainState("running"), None))
        await asyncio.sleep(0.15)
        terminal.read()
        presenter.handle(now(ev.Console("hello"), None))
        await asyncio.sleep(0.15)
        assert presenter._timer is None
        assert terminal.read() == ""


async def test_timers_run_while_a_cycle_runs(terminal: Terminal) -> None:
    """Without any event the running times go on, once a second."""
    with live(terminal) as presenter:
        presenter.handle(now(ev.CycleStarted("first")))
        assert "0.0s" in terminal.read()
        await asyncio.sleep(1.15)
        assert terminal.read().count("\x1b[?2026h") == 1
        assert "1.0s" in terminal.screen.shown()


def _fail_while_it_draws(terminal: Terminal) -> None:
    with live(terminal) as presenter:
        presenter.handle(now(ev.LoopStarted(("/r",), 3), None))
        terminal.read()
        assert not terminal.screen.cursor
        raise KeyError


async def test_terminal_is_restored_after_an_exception(terminal: Terminal) -> None:
    """Whatever ends the program, the cursor, the wrapping, the echo and stderr are as they were."""
    before = termios.tcgetattr(terminal.stream.fileno())
    stderr = sys.stderr
    with pytest.raises(KeyError):
        _fail_while_it_draws(terminal)
    terminal.read()
    assert terminal.screen.cursor
    assert terminal.screen.shown() == ""
    assert termios.tcgetattr(terminal.stream.fileno()) == before
    assert sys.stderr is stderr


async def test_resize_is_followed(terminal: Terminal) -> None:
    """A terminal that changes its size while nothing happens is drawn anew in its new size."""
    with live(terminal) as presenter:
        presenter.handle(now(ev.LoopStarted(("/r",), 3), None))
        await asyncio.sleep(0.1)
        terminal.read()
        ioctl(terminal.stream.fileno(), termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        os.kill(os.getpid(), 28)  # SIGWINCH: the pseudo-terminal is not the one that controls us
        await asyncio.sleep(0.1)
        assert "─" * 100 in terminal.read().replace("\x1b[2m", "")


def test_hostile_text_obeys_nothing(terminal: Terminal) -> None:
    """The terminal gets no sequence but our own (the test's terminal refuses others), and the text is readable."""
    with live(terminal) as presenter:
        for event in hostile_run():
            presenter.handle(event)
    terminal.read()
    assert "[bold red]red[/]" in terminal.screen.whole()
    assert "owned" not in terminal.screen.whole()


def test_results_leave_the_terminal_alone(terminal: Terminal) -> None:
    """A command without a cycle prints its results as text: no region, no hidden cursor, echo for questions."""
    with live(terminal) as presenter:
        for event in (check("system", "/nix/store/abc"), FAILED_CHECK, ev.DomainState("running")):
            presenter.handle(now(event, None))
        written = terminal.read()
        assert "\x1b[?" not in written
        assert presenter._terminal is None
    assert terminal.screen.shown() == snapshot("""\
✓ system                /nix/store/abc
✗ store-overlay
  expected: overlay on /nix/store, lower /nix/.ro-store
  actual:   virtiofs
  hint:     the overlay is missing from the guest's initrd\
""")


def test_a_single_cycle_ends_with_the_terminal_restored(terminal: Terminal) -> None:
    """After `rebuild`'s cycle the terminal is free before anything else is printed, its error included."""
    script = Script()
    good_cycle(script, 1, "rebuild")
    with live(terminal) as presenter:
        for event in script.events:
            presenter.handle(event)
        terminal.read()
        assert terminal.screen.cursor
        assert "cycle 1 ok in 8.2s" in terminal.screen.shown()


def test_no_color(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR leaves bold and dim, but no colour."""
    monkeypatch.setenv("NO_COLOR", "1")
    with live(terminal) as presenter:
        for event in whole_run():
            presenter.handle(event)
    styles = set(re.findall(r"\x1b\[([0-9;]*)m", terminal.read()))
    assert styles <= {"0", "1", "2"}


def test_stray_lines_go_above(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a library prints to stderr on the same terminal becomes a line above the region, made harmless."""
    monkeypatch.setattr(sys, "stderr", terminal.stream)
    handler = logging.StreamHandler()
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    with live(terminal) as presenter:
        presenter.handle(Stamped(1, START, "demo", None, ev.LoopStarted(("/r",), 3)))
        sys.stderr.write("a \x1b[2Jwarning\n")
        logging.getLogger("test").warning("logged")
    terminal.read()
    assert terminal.screen.shown() == "a warning\nlogged"
    assert handler.stream is terminal.stream


def test_a_terminal_without_cursor_gets_lines(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """TERM=dumb (an editor's shell) is plain, any other terminal live."""
    assert resolve(Output.AUTO, terminal.stream) is Output.LIVE
    monkeypatch.setenv("TERM", "dumb")
    assert resolve(Output.AUTO, terminal.stream) is Output.PLAIN


def test_verbose_shows_logs_above(terminal: Terminal) -> None:
    """With -v build logs and the console scroll by above the region."""
    with sink(Output.LIVE, terminal.stream, sys.stderr, SystemClock(), verbosity=Verbosity.VERBOSE) as presenter:
        for event in whole_run():
            presenter.handle(event)
    terminal.read()
    assert "initrd-linux-6.1.119> zstd: compressing 4213 files" in terminal.screen.whole()
    assert "console> [    0.004217] Linux version 6.1.0 (Debian 6.1.119-1)" in terminal.screen.whole()


def test_history_is_a_table_that_stays(terminal: Terminal) -> None:
    """`history` prints its table once, in the terminal's own width, and leaves the terminal as it was."""
    with sink(Output.LIVE, terminal.stream, sys.stderr, SystemClock()) as presenter:
        event = History(7, 7, None, 7, "/s", BootedSource.GUEST, 0.0, None, (), (ONE,))
        presenter.handle(Stamped(1, START, "demo", None, event))
    assert "\x1b[" in terminal.read()
    assert terminal.screen.shown() == snapshot("""\
generation  age       verdict  action  is                      changed
         7  just now  -        -       built, current, booted  asked for
booted: generation 7, as the guest says\
""")
