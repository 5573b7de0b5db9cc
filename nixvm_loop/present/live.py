"""The live view: finished cycles and errors scroll by as text, the cycle under way is redrawn below them.

It draws only on change, at most twelve times a second, and once a second while a cycle runs; between cycles never.
In the background it draws nothing: only the text that scrolls by is written. Keys go to a command that asked for them.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, Self, TextIO

from rich.console import Console
from rich.text import Text

from nixvm_loop.events.generations import DefinitionChange, Difference, History
from nixvm_loop.events.types import BuildLog
from nixvm_loop.present import tables, terminal
from nixvm_loop.present.choice import Verbosity
from nixvm_loop.present.frame import frame
from nixvm_loop.present.history import history
from nixvm_loop.present.keyboard import Keyboard, Standing, standing
from nixvm_loop.present.painter import Painter
from nixvm_loop.present.reducer import reduce
from nixvm_loop.present.sanitise import clean
from nixvm_loop.present.state import ViewState
from nixvm_loop.present.words import LINE_LIMIT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from nixvm_loop.events.types import Event, Stamped
    from nixvm_loop.model.clock import Clock
    from nixvm_loop.present import Keys
    from nixvm_loop.present.stream import LineWriter

_FRAME_S = 1 / 12
_TICK_S = 1.0
_SPECIAL_KEY: Final = re.compile(rb"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|O?.|)", re.DOTALL)


class LiveSink:
    """Draws on a terminal while a loop or a cycle runs; outside of them its lines are plain output."""

    def __init__(
        self,
        stdout: TextIO,
        out: LineWriter,
        clock: Clock,
        verbosity: Verbosity,
        keys: Keys | None = None,
    ) -> None:
        self._stdout = stdout
        self._clock = clock
        self._verbosity = verbosity
        self._out = out
        self._keys = keys
        self._painter = Painter(self._out)
        self._console = Console(file=stdout, force_terminal=True, highlight=False)
        self._state = ViewState()
        self._said: dict[str | None, Stamped] = {}
        self._above: list[Text] = []
        self._painted_s = float("-inf")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._terminal: ExitStack | None = None
        self._keyboard: Keyboard | None = None
        self._behind = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave()

    def handle(self, stamped: Stamped) -> None:
        """Take one event; the drawing may follow a little later."""
        if isinstance(stamped.event, BuildLog) and self._verbosity is not Verbosity.VERBOSE and self._state.cycle:
            # A builder may say thousands of lines a second: nobody sees more than the last before each drawing.
            asked = bool(self._said) and self._loop is not None
            self._said[stamped.event.derivation] = stamped
            if not asked:
                self._draw_soon()
            return
        self._take_said()
        before, self._state = self._state, reduce(self._state, stamped)
        self._above += history(before, self._state, stamped, self._verbosity)
        self._above += self._listed(stamped.event)
        if not (self._state.watching or self._state.cycle):
            self._leave()
        elif self._above or self._state is not before:
            self._enter()
            self._draw_soon()

    def _take_said(self) -> None:
        said, self._said = self._said, {}
        for stamped in said.values():
            self._state = reduce(self._state, stamped)

    def _listed(self, event: Event) -> list[Text]:
        match event:
            case History():
                return tables.history(event, terminal.size(self._stdout)[0])
            case Difference():
                return tables.diff(event)
            case DefinitionChange():
                return tables.definition(event)
            case _:
                return []

    def _enter(self) -> None:
        if self._terminal is None:
            self._terminal = ExitStack()
            self._take_keys(self._terminal)
            self._terminal.enter_context(terminal.on_resize(self._resized))
            self._terminal.enter_context(terminal.stderr_lines(self._stray_line))
            if self._loop is not None:
                self._terminal.enter_context(terminal.on_suspension(self._loop, self._suspend, self._resume))

    def _take_keys(self, until: ExitStack) -> None:
        self._loop = _running_loop()
        if self._keys is not None and self._keys.stdin.isatty():
            self._keyboard = Keyboard(self._keys.stdin.fileno(), self._loop, self._typed)
        else:
            self._keyboard = Keyboard(self._stdout.fileno())
        self._keyboard.take()
        until.callback(self._keyboard.give_back)

    def _typed(self, keys: bytes) -> None:
        if self._keys is not None:
            for key in _SPECIAL_KEY.sub(b"", keys).decode("ascii", "replace"):
                self._keys.on_key(key)

    def _suspend(self) -> None:
        self._stop_timer()
        self._erase()
        if self._keyboard is not None:
            self._keyboard.give_back()

    def _resume(self) -> None:
        if self._terminal is None or self._keyboard is None:
            return
        self._keyboard.take()
        self._painter.forget()
        self._draw()

    def _leave(self) -> None:
        self._stop_timer()
        if self._terminal is not None:
            try:
                self._terminal.close()
            finally:
                self._terminal = None
                self._erase()
        self._print_above()

    def _erase(self) -> None:
        if self._painter.is_drawn:
            width, _ = terminal.size(self._stdout)
            self._painter.close(width, above=self._take_above())

    def _print_above(self) -> None:
        for line in self._take_above():
            self._out.line(line)

    def _draw_soon(self) -> None:
        wait_s = self._painted_s + _FRAME_S - self._clock.monotonic()
        self._loop = _running_loop()
        if wait_s <= 0:
            self._draw()
        elif self._loop is not None:
            self._draw_in(wait_s)

    def _draw(self) -> None:
        self._stop_timer()
        if self._is_behind():
            self._print_above()
            self._draw_in(_TICK_S)  # to see when we are in front: nobody tells us
            return
        self._take_said()
        width, height = terminal.size(self._stdout)
        texts = frame(self._state, width, height, self._clock.now())
        cells = [text.cell_len for text in texts]
        self._painter.draw(self._ansi(texts), cells, width, above=self._take_above())
        self._painted_s = self._clock.monotonic()
        if self._state.cycle is not None:
            self._draw_in(_TICK_S)

    def _is_behind(self) -> bool:
        before, self._behind = self._behind, standing(self._stdout.fileno()) is Standing.BACK
        if before and not self._behind and self._keyboard is not None:
            self._keyboard.take()
        return self._behind

    def _draw_in(self, wait_s: float) -> None:
        if self._loop is None or self._loop.is_closed():
            return
        when = self._loop.time() + wait_s
        if self._timer is not None and self._timer.when() <= when:
            return
        self._stop_timer()
        self._timer = self._loop.call_at(when, self._draw)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _resized(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._draw_after_resize)

    def _draw_after_resize(self) -> None:
        if self._terminal is not None:
            self._draw()

    def _stray_line(self, line: str) -> None:
        self._above.append(Text(clean(line, LINE_LIMIT)))
        if self._terminal is not None:
            self._draw_soon()

    def _take_above(self) -> list[str]:
        lines = self._ansi(self._above)
        self._above = []
        return lines

    def _ansi(self, texts: Sequence[Text]) -> list[str]:
        lines = []
        for text in texts:
            with self._console.capture() as captured:
                self._console.print(text, soft_wrap=True, end="")
            lines.append(captured.get())
        return lines


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
