from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from nixvm_loop.present.painter import Painter
from nixvm_loop.present.stream import LineWriter
from tests.present.screen import Screen

WIDTH, HEIGHT = 12, 8
LINES = st.text(alphabet="abc ", min_size=1, max_size=WIDTH).map(lambda text: text.strip() or "x")
FRAMES = st.tuples(
    st.lists(LINES, min_size=1, max_size=HEIGHT - 1),
    st.lists(st.text(alphabet="ABC", min_size=1, max_size=3 * WIDTH), max_size=3),
)


class Terminal:
    """A painter and the screen that it paints on."""

    def __init__(self, width: int = WIDTH, height: int = HEIGHT) -> None:
        self.stream = io.StringIO()
        self.painter = Painter(LineWriter(self.stream))
        self.screen = Screen(width, height)

    def draw(self, lines: list[str], above: tuple[str, ...] = ()) -> str:
        self.painter.draw(lines, [len(line) for line in lines], self.screen.width, above=above)
        return self._flush()

    def close(self, above: tuple[str, ...] = ()) -> None:
        self.painter.close(self.screen.width, above=above)
        self._flush()

    def _flush(self) -> str:
        written = self.stream.getvalue()
        self.stream.seek(0)
        self.stream.truncate()
        self.screen.feed(written)
        return written


def folded(text: str) -> list[str]:
    return [text[start : start + WIDTH] for start in range(0, len(text), WIDTH)]


@given(st.lists(FRAMES, min_size=1, max_size=12))
def test_screen_is_history_and_the_last_frame(frames: list[tuple[list[str], list[str]]]) -> None:
    """After any frames, all that was kept stands above in order, then the last frame, and nothing of the others."""
    terminal = Terminal()
    expected: list[str] = []
    for lines, above in frames:
        terminal.draw(lines, tuple(above))
        expected += [row for text in above for row in folded(text)]
        assert terminal.screen.whole().split("\n") == [*expected, *lines]
    terminal.close(("END",))
    assert terminal.screen.whole().split("\n") == [*expected, "END"]
    assert terminal.screen.cursor
    assert terminal.screen.wraps


def test_a_frame_that_is_the_same_writes_nothing() -> None:
    """No byte goes to the terminal when nothing changed."""
    terminal = Terminal()
    assert terminal.draw(["one", "two"])
    assert terminal.draw(["one", "two"]) == ""


def test_only_changed_lines_are_written() -> None:
    """A line that stays is passed over."""
    terminal = Terminal()
    terminal.draw(["one", "two", "three"])
    written = terminal.draw(["one", "TWO", "three"])
    assert "TWO" in written
    assert "one" not in written
    assert "three" not in written


def test_a_full_line_keeps_its_last_character() -> None:
    """What erases the rest of a line does not eat the end of a line that fills the width."""
    terminal = Terminal()
    terminal.draw(["x" * WIDTH, "y" * WIDTH])
    terminal.draw(["a" * WIDTH, "b" * WIDTH])
    assert terminal.screen.shown() == "a" * WIDTH + "\n" + "b" * WIDTH


def test_a_line_wider_than_thought_costs_no_row() -> None:
    """A terminal that draws a character wider than we count does not push the region apart."""
    terminal = Terminal()
    terminal.painter.draw(["x" * (WIDTH + 3), "end"], [WIDTH, 3], WIDTH)
    terminal._flush()
    terminal.draw(["one", "two"])
    assert terminal.screen.shown() == "one\ntwo"


def test_a_narrower_terminal_is_painted_anew() -> None:
    """Lines that the terminal folded when it became narrower are all taken away."""
    terminal = Terminal()
    terminal.draw(["a" * WIDTH, "b" * WIDTH], above=("kept",))
    half = WIDTH // 2
    narrow = Screen(half, HEIGHT)
    narrow.feed("kept\n" + "a" * half + "\n" + "a" * half + "\n" + "b" * half + "\n" + "b" * half + "\x1b[1A\r")
    terminal.screen = narrow
    terminal.draw(["new", "frame"])
    assert narrow.shown() == "kept\nnew\nframe"
