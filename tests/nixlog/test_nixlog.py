"""The reader of nix's internal-json lines, on recorded and on hostile input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixvm_loop import nixlog
from nixvm_loop.model.nixerror import NixError, Place
from nixvm_loop.nixlog import Plain, Result, Said, Start, Stop, clean, parse

FIXTURES = Path(__file__).parents[1] / "fixtures" / "nix"
RECORDED = sorted(FIXTURES.glob("2.*/*.log"))


def line(**fields: object) -> bytes:
    return b"@nix " + json.dumps(fields).encode()


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_every_recorded_line_is_understood(file: Path) -> None:
    """No line that a real nix wrote as a message ends as plain text."""
    lines = file.read_bytes().splitlines()
    assert lines
    assert [item for item in lines if item.startswith(b"@nix") and isinstance(parse(item), Plain)] == []


def test_recordings_exist_for_two_versions() -> None:
    """The parametrised tests cannot pass by having nothing to look at."""
    assert {file.parent.name for file in RECORDED} >= {"2.8", "2.26"}


def test_the_messages_of_an_activity() -> None:
    """Start, news and stop carry their number, kind and fields."""
    assert parse(line(action="start", id=7, level=3, type=105, text="building", fields=["/a.drv", "", 1, 1])) == Start(
        7, 3, nixlog.BUILD, "building", ("/a.drv", "", 1, 1)
    )
    assert parse(line(action="result", id=7, type=101, fields=["hello"])) == Result(7, 101, ("hello",))
    assert parse(line(action="stop", id=7)) == Stop(7)


def test_unknown_numbers_are_messages_all_the_same() -> None:
    """A newer nix with a new activity or result does not disturb the reader."""
    assert parse(line(action="start", id=1, level=3, type=113, text="new")) == Start(1, 3, 113, "new", ())
    assert parse(line(action="result", id=1, type=999, fields=[{"a": 1}])) == Result(1, 999, ({"a": 1},))


def test_a_priority_before_the_marker_is_skipped() -> None:
    """What nix writes when it believes to log to the journal is read too."""
    assert parse(b"<3>" + line(action="stop", id=1)) == Stop(1)


@pytest.mark.parametrize(
    "raw",
    [
        b'@nix {"action":"start","id":',
        b'@nix {"action":"dance"}',
        b'@nix {"action":"start"}',
        b'@nix {"action":"stop","id":null}',
        b'@nix {"action":"result","id":1,"type":101,"fields":7}',
        b'@nix {"action":"msg","level":1,"msg":7}',
        b'@nix {"action":{}}',
        b"@nix []",
        b"warning: plain words",
        b"",
    ],
)
def test_what_is_no_message_stays_text(raw: bytes) -> None:
    """Broken JSON, unknown actions and plain lines are shown as they came."""
    assert parse(raw) == Plain(raw.decode())


@given(st.binary(max_size=300))
def test_no_line_is_fatal(raw: bytes) -> None:
    """Whatever bytes come, there is an answer, and it can be written to a file."""
    for message in (parse(raw), parse(b"@nix {" + raw), parse(line(action="msg", level=0, msg=raw.decode("latin-1")))):
        if isinstance(message, Plain | Said):
            message.text.encode()


def test_deep_nesting_is_not_fatal() -> None:
    """JSON that would exhaust the stack is a plain line."""
    assert isinstance(parse(b'@nix {"action":' + b"[" * 100_000), Plain)


def test_a_megabyte_in_one_line() -> None:
    """A very long line of a builder arrives whole."""
    message = parse(line(action="result", id=1, type=101, fields=["x" * 1_000_000]))
    assert isinstance(message, Result)
    assert message.fields == ("x" * 1_000_000,)


def test_only_words_that_begin_with_error_are_errors() -> None:
    """`builtins.trace` speaks at level 0 as well and is no error."""
    assert parse(line(action="msg", level=0, msg="trace: looking")) == Said(0, "trace: looking")
    assert parse(line(action="msg", level=1, msg="error: not this")) == Said(1, "error: not this")
    assert parse(line(action="msg", level=0, msg="\x1b[31;1merror:\x1b[0m no \x1b[35mway")) == NixError(
        "no way", "error: no way"
    )


def test_the_error_of_nix_2_26_has_its_place_and_trace() -> None:
    """The position that this version appends to the file's name is taken off again."""
    messages = [parse(item) for item in (FIXTURES / "2.26" / "syntax-error.log").read_bytes().splitlines()]
    (error,) = [message for message in messages if isinstance(message, NixError)]
    assert error.text == "syntax error, unexpected '=', expecting ';'"
    assert error.place is not None
    assert (error.place.file.rpartition("/")[2], error.place.line, error.place.column) == ("system.nix", 4, 12)
    assert [(place.file.rpartition("/")[2], place.line) for place in error.trace] == [("flake.nix", 3)]


def test_places_without_a_line_are_none() -> None:
    """«none»:0 and null are no places."""
    frames = [
        {"raw_msg": "a", "file": None, "line": None, "column": None},
        {"raw_msg": "b"},
        {"raw_msg": "c", "file": "«none»:0", "line": 0, "column": 0},
        {"raw_msg": "d", "file": "/a.nix:3:1", "line": 3, "column": 1},
    ]
    error = parse(line(action="msg", level=0, msg="error: x", raw_msg="x", file=None, line=None, trace=frames))
    assert error == NixError("x", "error: x", None, (Place("/a.nix", 3, 1),))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("\x1b[31;1mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link", "link"),
        ("\x1b[6n\x1b[?1049h\x1bc", ""),
        ("\x1b]never ended", ""),
        ("\x1b]never ended\nnext", "\nnext"),
        ("10%\r50%\r100%\r", "100%"),
        ("tab\there\nnext", "tab\there\nnext"),
        ("\x00\x00bell\x07", "\ufffdbell\ufffd"),
        ("\x9b31mc1", "\ufffd31mc1"),
        ("\udcff", "\ufffd"),
    ],
)
def test_clean_text_is_harmless(text: str, expected: str) -> None:
    """Escape sequences go, other control characters show as a mark, tabs and newlines stay."""
    assert clean(text) == expected


@given(st.text())
def test_clean_text_holds_no_control_character(text: str) -> None:
    """Nothing that a terminal would act on is left."""
    assert all(char in "\t\n" or (ord(char) >= 32 and not 127 <= ord(char) < 160) for char in clean(text))
