"""The live view: finished cycles and errors scroll by as text, the cycle under way is redrawn below them.

It draws only on change, at most twelve times a second, and once a second while a cycle runs; between cycles never.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self, TextIO

from rich.console import Console
from rich.text import Text

from nixvm_loop.present import terminal
from nixvm_loop.present.frame import frame
from nixvm_loop.present.history import history
from nixvm_loop.present.painter import Painter
from nixvm_loop.present.reducer import reduce
from nixvm_loop.present.sanitise import clean
from nixvm_loop.present.state import ViewState
from nixvm_loop.present.stream import LineWriter
from nixvm_loop.present.words import LINE_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from nixvm_loop.events.types import Stamped
    from nixvm_loop.model.clock import Clock
    from nixvm_loop.present.choice import Verbosity

_FRAME_S = 1 / 12
_TICK_S = 1.0


class LiveSink:
    """Draws on a terminal while a loop or a cycle runs; outside of them its lines are plain output."""

    def __init__(
        self, stdout: TextIO, clock: Clock, verbosity: Verbosity, on_closed: Callable[[], None] | None = None
    ) -> None:
        self._stdout = stdout
        self._clock = clock
        self._verbosity = verbosity
        self._out = LineWriter(stdout, on_closed)
        self._painter = Painter(self._out)
        self._console = Console(file=stdout, force_terminal=True, highlight=False)
        self._state = ViewState()
        self._above: list[Text] = []
        self._painted_s = float("-inf")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._terminal: ExitStack | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave()

    def handle(self, stamped: Stamped) -> None:
        """Take one event; the drawing may follow a little later."""
        before, self._state = self._state, reduce(self._state, stamped)
        self._above += history(before, self._state, stamped, self._verbosity)
        if not (self._state.watching or self._state.cycle):
            self._leave()
        elif self._above or self._state is not before:
            self._enter()
            self._draw_soon()

    def _enter(self) -> None:
        if self._terminal is None:
            self._terminal = ExitStack()
            self._terminal.enter_context(terminal.silent_keys(self._stdout))
            self._terminal.enter_context(terminal.on_resize(self._resized))
            self._terminal.enter_context(terminal.stderr_lines(self._stray_line))

    def _leave(self) -> None:
        self._stop_timer()
        if self._terminal is not None:
            try:
                self._terminal.close()
            finally:
                self._terminal = None
                width, _ = terminal.size(self._stdout)
                self._painter.close(width, above=self._take_above())
        for line in self._take_above():
            self._out.line(line)

    def _draw_soon(self) -> None:
        wait_s = self._painted_s + _FRAME_S - self._clock.monotonic()
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None
        if wait_s <= 0:
            self._draw()
        elif self._loop is not None:
            self._draw_in(wait_s)

    def _draw(self) -> None:
        self._stop_timer()
        width, height = terminal.size(self._stdout)
        texts = frame(self._state, width, height, self._clock.now())
        cells = [text.cell_len for text in texts]
        self._painter.draw(self._ansi(texts), cells, width, above=self._take_above())
        self._painted_s = self._clock.monotonic()
        if self._state.cycle is not None:
            self._draw_in(_TICK_S)

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
