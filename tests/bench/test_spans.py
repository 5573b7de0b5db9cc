from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import pytest

from nixvm_loop.process import Request, run
from nixvm_loop.spans import LOGGER, Span, SpanKind, span

if TYPE_CHECKING:
    from collections.abc import Iterator


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.spans: list[Span] = []

    def emit(self, record: logging.LogRecord) -> None:
        assert isinstance(record.args, tuple)
        assert isinstance(record.args[0], Span)
        self.spans.append(record.args[0])


@pytest.fixture
def kept() -> Iterator[Kept]:
    handler, logger = Kept(), logging.getLogger(LOGGER)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_a_span_lasts_as_long_as_its_block(kept: Kept) -> None:
    """Begin and end are the monotonic clock's, so that another process can compare them."""
    before = time.monotonic()
    with span(SpanKind.COMMAND, "demo"):
        time.sleep(0.02)
    (found,) = kept.spans
    assert (found.kind, found.what) == (SpanKind.COMMAND, "demo")
    assert before <= found.began_s <= found.ended_s - 0.02 <= time.monotonic() - 0.02


def test_a_span_that_fails_is_told_as_well(kept: Kept) -> None:
    """A wait that ended by an error was a wait."""
    with pytest.raises(OSError, match="gone"), span(SpanKind.LIBVIRT, "starting"):
        raise OSError("gone")
    assert [found.kind for found in kept.spans] == [SpanKind.LIBVIRT]


def test_nobody_listens_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """By default the spans are not even measured."""
    with span(SpanKind.COMMAND, "demo"):
        pass
    assert not caplog.records


async def test_the_door_for_processes_tells_of_its_waits(kept: Kept) -> None:
    """Nearly all of the life of the child is in the span."""
    await run(Request(("sleep", "0.3")))
    (found,) = kept.spans
    assert (found.kind, found.what) == (SpanKind.PROCESS, "sleep")
    assert found.ended_s - found.began_s >= 0.2
