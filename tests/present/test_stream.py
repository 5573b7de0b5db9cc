from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nixvm_loop.errors import BuildError, OutputError
from nixvm_loop.events import types as ev
from nixvm_loop.events.codec import decode
from nixvm_loop.model.clock import SystemClock
from nixvm_loop.present import Output, resolve, sink
from nixvm_loop.present.stream import LineWriter
from tests.present.scenario import hostile_run, whole_run

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]


def test_json_is_one_object_a_line_and_nothing_else() -> None:
    """Each line decodes to the event that was shown, and stderr stays empty."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with sink(Output.JSON, stdout, stderr, SystemClock()) as presenter:
        for event in whole_run():
            presenter.handle(event)
    assert [decode(line) for line in stdout.getvalue().splitlines()] == whole_run()
    assert stderr.getvalue() == ""


def test_json_of_hostile_text_is_utf8_without_escapes() -> None:
    """Programs read valid UTF-8 whatever the locale, and no control character or line separator stands in it raw."""
    raw = io.BytesIO()
    with sink(Output.JSON, io.TextIOWrapper(raw, encoding="ascii"), io.StringIO(), SystemClock()) as presenter:
        for event in hostile_run():
            presenter.handle(event)
        lines = raw.getvalue().decode("utf-8").split("\n")
    assert lines.pop() == ""
    assert len(lines) == len(hostile_run())
    for line in lines:
        assert json.loads(line)["schema"] == 1
        assert line.replace("\ufffd", "").isprintable()


def test_lines_are_flushed_at_once() -> None:
    """A reader sees a line as soon as it is said."""
    read, write = os.pipe()
    with os.fdopen(read, "rb", buffering=0) as reader, os.fdopen(write, "w") as stream:
        LineWriter(stream).line("hello")
        assert reader.read(100) == b"hello\n"


def test_characters_that_the_encoding_lacks() -> None:
    """A terminal without UTF-8 gets a question mark, not an exception."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    LineWriter(stream).line("✓ ok")
    assert raw.getvalue() == b"? ok\n"


@pytest.mark.parametrize("output", [Output.PLAIN, Output.JSON])
def test_a_reader_that_leaves_is_told_once(output: Output) -> None:
    """`| head` ends quietly: nothing is raised, `on_lost` is called once, and the stream can be flushed at exit."""
    read, write = os.pipe()
    os.close(read)
    calls: list[int] = []
    with os.fdopen(write, "w") as stdout:
        with sink(output, stdout, io.StringIO(), SystemClock(), on_lost=lambda _: calls.append(1)) as presenter:
            for event in whole_run():
                presenter.handle(event)
        stdout.flush()
    assert calls == [1]


def play_on_a_full_disk(output: Output, on_lost: Callable[[OSError], None], then: Exception | None = None) -> None:
    with (
        Path("/dev/full").open("w") as stdout,
        sink(output, stdout, io.StringIO(), SystemClock(), on_lost=on_lost) as presenter,
    ):
        for event in whole_run():
            presenter.handle(event)
        if then is not None:
            raise then


@pytest.mark.parametrize("output", [Output.PLAIN, Output.JSON])
def test_a_full_disk_is_an_error_at_the_end(output: Output) -> None:
    """What was under way goes on; then it is told that the output is not complete, beside what else went wrong."""
    lost: list[OSError] = []
    with pytest.raises(OutputError, match=r"standard output cannot be written: No space left"):
        play_on_a_full_disk(output, lost.append)
    assert len(lost) == 1
    with pytest.raises(ExceptionGroup) as raised:
        play_on_a_full_disk(output, lost.append, BuildError("no"))
    assert [type(error) for error in raised.value.exceptions] == [BuildError, OutputError]


def test_a_full_disk_behind_stderr_is_nobodys_business() -> None:
    """Plain lines for stdout come whole though stderr takes none."""
    stdout, usual = io.StringIO(), io.StringIO()
    with Path("/dev/full").open("w") as stderr, sink(Output.PLAIN, stdout, stderr, SystemClock()) as presenter:
        for event in whole_run():
            presenter.handle(event)
    with sink(Output.PLAIN, usual, io.StringIO(), SystemClock()) as presenter:
        for event in whole_run():
            presenter.handle(event)
    assert stdout.getvalue() == usual.getvalue() != ""


def test_auto_is_plain_without_a_terminal() -> None:
    """Neither `auto` nor `live` draws where there is no terminal."""
    assert resolve(Output.AUTO, io.StringIO()) is Output.PLAIN
    assert resolve(Output.LIVE, io.StringIO()) is Output.PLAIN
    assert resolve(Output.JSON, io.StringIO()) is Output.JSON


def test_plain_output_loads_no_terminal_library() -> None:
    """`status` stays fast: neither rich nor pydantic is imported for plain lines."""
    code = (
        "import io, sys\n"
        "from nixvm_loop.present import Output, sink\n"
        "from nixvm_loop.model.clock import SystemClock\n"
        "with sink(Output.PLAIN, io.StringIO(), io.StringIO(), SystemClock()): pass\n"
        "print(sorted({'rich', 'pydantic'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"


def test_sink_takes_every_event_type() -> None:
    """The three outputs handle a status that knows nothing."""
    status = ev.Status("demo", "shut off", *([None] * 17))
    stamped = type(whole_run()[0])(1, whole_run()[0].time, "demo", None, status)
    for output in (Output.PLAIN, Output.JSON):
        stdout = io.StringIO()
        with sink(output, stdout, io.StringIO(), SystemClock()) as presenter:
            presenter.handle(stamped)
        assert "shut off" in stdout.getvalue()
