from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixvm_loop.console.lines import LINE_LIMIT_BYTES, LineSplitter


def split(*chunks: bytes, flush: bool = True) -> list[str]:
    lines: list[str] = []
    splitter = LineSplitter(lines.append)
    for chunk in chunks:
        splitter.feed(chunk)
    if flush:
        splitter.flush()
    return lines


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (b"one\r\ntwo\n", ["one", "two"]),
        (b"one\r\r\n\r\ntwo\r\n", ["one", "", "two"]),
        (b"10%\r20%\rdone\r\n", ["10%", "20%", "done"]),
        (b"\r[ OK ] Started\r\n", ["[ OK ] Started"]),
        (b"login: ", ["login: "]),
        (b"\xff\xfe caf\xc3\xa9\n", ["\ufffd\ufffd café"]),
        (b"\x1b[6n\x00\n", ["\x1b[6n\x00"]),
        (b"\r\n", [""]),
        (b"", []),
    ],
)
def test_lines(text: bytes, lines: list[str]) -> None:
    """Line ends of all kinds, in one chunk and byte by byte."""
    assert split(text) == lines
    assert split(*(text[at : at + 1] for at in range(len(text)))) == lines


def test_a_prompt_is_told_and_told_again_when_it_went_on() -> None:
    """What was flushed too early is not lost to those who look for whole lines."""
    lines: list[str] = []
    splitter = LineSplitter(lines.append)
    splitter.feed(b"nixvm-loop-host-key: ssh-ed25519 AA")
    waiting = [splitter.waiting]
    splitter.flush()
    waiting.append(splitter.waiting)
    splitter.flush()
    assert waiting == [True, False]
    splitter.feed(b"AA\r\nnext\r\n")
    assert lines == ["nixvm-loop-host-key: ssh-ed25519 AA", "nixvm-loop-host-key: ssh-ed25519 AAAA", "next"]


def test_a_line_told_early_is_not_repeated() -> None:
    """Only the line's end was missing."""
    lines: list[str] = []
    splitter = LineSplitter(lines.append)
    splitter.feed(b"done")
    splitter.flush()
    splitter.feed(b"\r\nnext\n")
    assert lines == ["done", "next"]


def test_an_endless_line_comes_in_pieces() -> None:
    """A megabyte without a newline does not wait for its end, nor grow without limit."""
    lines = split(*[b"x" * 1000] * 1000, b"\n")
    assert max(map(len, lines)) <= LINE_LIMIT_BYTES
    assert sum(map(len, lines)) == 1_000_000


@given(st.lists(st.binary(max_size=30)))
def test_chunks_do_not_matter(chunks: list[bytes]) -> None:
    """However the bytes are cut, the lines are the same."""
    assert split(*chunks) == split(b"".join(chunks))
