from __future__ import annotations

import asyncio
import os
import signal

import pytest

from nixvm_loop.errors import InterruptedByUser
from nixvm_loop.interrupt import StopRequest, interruptible


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_the_first_signal_cancels_and_the_work_cleans_up(number: signal.Signals) -> None:
    """The work's own clean-up has run when the interruption is told, by the signal's name."""
    done: list[str] = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(10)
        finally:
            await asyncio.sleep(0.01)
            done.append("cleaned")

    with pytest.raises(InterruptedByUser, match=number.name):
        await interruptible(work())
    assert done == ["cleaned"]


async def test_a_second_signal_insists() -> None:
    """Work that takes its time over the end hears that the user does not want to wait."""
    insisted = asyncio.Event()

    async def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(10)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(insisted.wait(), 2)

    with pytest.raises(InterruptedByUser, match="SIGINT"):
        await interruptible(work(), insisted.set)


async def test_without_a_signal_results_and_errors_come_through() -> None:
    """A result is returned, an error raised, a cancellation from elsewhere stays one; no handler is left behind."""

    async def give() -> int:
        return 7

    async def fail() -> None:
        raise EOFError

    before = signal.getsignal(signal.SIGTERM)
    assert await interruptible(give()) == 7
    with pytest.raises(EOFError):
        await interruptible(fail())
    task = asyncio.create_task(interruptible(asyncio.sleep(10)))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert signal.getsignal(signal.SIGTERM) is before


async def test_what_we_were_started_to_ignore_stays_ignored() -> None:
    """Under nohup a hangup does not end us."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)

    async def work() -> int:
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.05)
        return 7

    try:
        assert await interruptible(work()) == 7
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_a_wish_from_within(when: str) -> None:
    """It ends the work like a signal, but nobody is told of a signal that was not sent."""
    stop, done = StopRequest(), []

    async def work() -> None:
        if when == "meanwhile":
            stop.make("enough")
            stop.make("more than enough")
        try:
            await asyncio.sleep(10)
        finally:
            done.append("cleaned")

    if when == "before":
        stop.make("enough")
    with pytest.raises(InterruptedByUser, match=r"^interrupted$"):
        await interruptible(work(), stop=stop)
    assert stop.reason == "enough"
    assert done == ["cleaned"]


async def test_a_wish_that_comes_too_late() -> None:
    """What has ended by itself keeps its result."""
    stop = StopRequest()

    async def work() -> int:
        stop.withdraw()
        stop.make("enough")
        await asyncio.sleep(0.01)
        return 7

    assert await interruptible(work(), stop=stop) == 7
