from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from nixvm_loop import control
from nixvm_loop.control import Rebuild, Rollback, place, server
from nixvm_loop.control.client import Answered, Reached
from nixvm_loop.control.protocol import REQUEST_LIMIT_BYTES, Failed, decode_answer, decode_greeting, encode_request
from nixvm_loop.decide import Wish
from nixvm_loop.errors import GenerationError, GuestError, InterruptedByUser
from nixvm_loop.events import types as ev
from nixvm_loop.model.values import Stage, Verdict
from tests.control.support import SUPERSEDED, Desk, finished, settings_for

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    OtherWatch = Callable[..., AbstractContextManager[subprocess.Popen[str]]]

FAILED = finished(6, ev.ErrorInfo("the guest did not boot", "look", ("panic",)), Verdict.FAILED)


@asynccontextmanager
async def reached(state: Path) -> AsyncIterator[Reached]:
    watch = await control.reach(settings_for(state))
    assert watch is not None
    try:
        yield watch
    finally:
        await watch.close()


@asynccontextmanager
async def raw(state: Path) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection whose greeting was read."""
    connection = place.connect(state)
    assert connection is not None
    reader, writer = await asyncio.open_unix_connection(sock=connection)
    try:
        decode_greeting(await reader.readline())
        yield reader, writer
    finally:
        writer.transport.abort()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def taken(desk: Desk) -> int:
    """The ticket of the next order."""
    ticket, _ = await asyncio.wait_for(desk.taken.get(), 2)
    return ticket


async def test_an_order_and_its_cycle(state: Path) -> None:
    """The order arrives as it was given; the client hears the very events of its cycle, and knows how it ended."""
    async with Desk().serving(state) as desk, reached(state) as watch:
        heard: list[ev.Stamped] = []
        answer = asyncio.create_task(watch.order(Rebuild(Wish.RESTART), heard.append))
        ticket, request = await desk.taken.get()
        assert request == Rebuild(Wish.RESTART)
        desk.fan.begin([ticket])
        desk.play(7, ev.StageStarted(Stage.BOOT), ev.Console("tty\x1b[2J \udc80"), finished())
        assert await answer == Answered(0)
        assert [(one.guest, one.cycle) for one in heard] == [("demo", 7)] * 4
        assert heard[1].event == ev.StageStarted(Stage.BOOT)
        assert heard[3].event == finished()
        assert [one.seq for one in heard] == [1, 2, 3, 4]


async def test_a_cycle_that_fails(state: Path) -> None:
    """The client's error is the cycle's: class, message, hint and details."""
    async with Desk().serving(state) as desk, reached(state) as watch:
        answer = asyncio.create_task(watch.order(Rollback(3), lambda _: None))
        desk.fan.begin([await taken(desk)])
        desk.play(7, FAILED)
        answered = await answer
        assert answered.exit_code == 6
        assert isinstance(answered.error, GuestError)
        assert (answered.error.message, answered.error.hint) == ("the guest did not boot", "look")
        assert answered.error.details == ("panic",)


async def test_a_superseded_cycle_is_followed_to_the_newer_ones_end(state: Path) -> None:
    """A save during the build changes which cycle serves the order, not that it is served."""
    async with Desk().serving(state) as desk, reached(state) as watch:
        answer = asyncio.create_task(watch.order(Rebuild(), lambda _: None))
        desk.fan.begin([await taken(desk)])
        desk.play(7, SUPERSEDED)
        await asyncio.sleep(0.02)
        assert not answer.done()
        desk.play(8, finished())
        assert await answer == Answered(0)


async def test_a_refused_order(state: Path) -> None:
    """What keeps an order from being taken is the client's error, and no cycle was begun."""
    async with Desk(refusal=GenerationError("there is no generation 99")).serving(state), reached(state) as watch:
        answered = await watch.order(Rollback(99), lambda _: None)
        assert isinstance(answered.error, GenerationError)
        assert answered.exit_code == 4


async def test_a_cycle_that_could_not_begin(state: Path) -> None:
    """The error that came instead of it reaches the client."""
    async with Desk().serving(state) as desk, reached(state) as watch:
        answer = asyncio.create_task(watch.order(Rebuild(), lambda _: None))
        desk.fan.begin([await taken(desk)])
        desk.fan.fail(GenerationError("the disk is full"))
        assert (await answer).exit_code == 4


async def test_watch_ends_before_the_order_begins(state: Path) -> None:
    """Nothing was done for it, so the client may do it itself."""
    async with AsyncExitStack() as clients:
        async with Desk().serving(state) as desk:
            watch = await clients.enter_async_context(reached(state))
            answer = asyncio.create_task(watch.order(Rebuild(), lambda _: None))
            await taken(desk)
        assert await answer == Answered(None)


async def test_watch_is_stopped_in_the_middle(state: Path) -> None:
    """The last events still arrive, and the client's exit code is that of an interruption."""
    async with AsyncExitStack() as clients:
        async with Desk().serving(state) as desk:
            watch = await clients.enter_async_context(reached(state))
            answer = asyncio.create_task(watch.order(Rebuild(), lambda _: None))
            desk.fan.begin([await taken(desk)])
            desk.play(7, finished(130, ev.ErrorInfo("interrupted", None, ()), Verdict.CANCELLED))
        answered = await answer
    assert isinstance(answered.error, InterruptedByUser)
    assert "was stopped in the middle of the cycle" in answered.error.message


async def test_watch_is_killed_in_the_middle(state: Path, other_watch: OtherWatch) -> None:
    """The client says which process ended, and in which cycle and stage, and that more is not known."""
    with other_watch(delay_s=60) as process:
        async with reached(state) as watch:
            assert watch.process == process.pid
            heard = asyncio.Event()
            answer = asyncio.create_task(
                watch.order(Rebuild(), lambda one: heard.set() if isinstance(one.event, ev.Console) else None)
            )
            await asyncio.wait_for(heard.wait(), 2)
            process.send_signal(signal.SIGKILL)
            answered = await asyncio.wait_for(answer, 2)
        assert answered.exit_code == 130
        assert isinstance(answered.error, InterruptedByUser)
        assert f"watch (process {process.pid}) ended in cycle 7, stage boot" in answered.error.message
        assert "not known" in answered.error.message


async def test_leaving_takes_nothing_back(state: Path) -> None:
    """A client that goes leaves its order with watch, which carries on and serves the next one."""
    async with Desk().serving(state) as desk:
        async with reached(state) as watch:
            answer = asyncio.create_task(watch.order(Rebuild(), lambda _: None))
            ticket = await taken(desk)
            answer.cancel()
        desk.fan.begin([ticket])
        desk.play(7, finished())
        async with reached(state) as watch:
            again = asyncio.create_task(watch.order(Rebuild(), lambda _: None))
            desk.fan.begin([await taken(desk)])
            desk.play(8, finished())
            assert await again == Answered(0)


async def test_a_client_that_never_reads_is_cut_off(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It neither holds up watch nor other clients, and takes a bounded part of memory."""
    monkeypatch.setattr(server, "_UNREAD_LIMIT_BYTES", 1 << 16)
    async with Desk().serving(state) as desk, raw(state) as (reader, writer), reached(state) as watch:
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(encode_request(Rebuild()))
        deaf = await taken(desk)
        answer = asyncio.create_task(watch.order(Rebuild(), lambda _: None))
        desk.fan.begin([deaf, await taken(desk)])
        began = time.monotonic()
        for _ in range(200):
            desk.play(7, ev.Console("x" * 10_000))
            await asyncio.sleep(0)
        desk.play(7, finished())
        assert time.monotonic() - began < 1
        assert await asyncio.wait_for(answer, 2) == Answered(0)
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        rest = await asyncio.wait_for(reader.read(1 << 24), 2)
        while more := await reader.read(1 << 20):
            rest += more
        assert len(rest) < 200 * 10_000
        assert b'"cycle_finished"' not in rest


async def test_a_client_that_was_cut_off_knows_it(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not say that watch has ended, because that goes on."""
    monkeypatch.setattr(server, "_UNREAD_LIMIT_BYTES", 1 << 16)
    async with Desk().serving(state) as desk, reached(state) as watch:
        answer = asyncio.create_task(watch.order(Rebuild(), lambda _: None))
        desk.fan.begin([await taken(desk)])
        desk.play(7, *(ev.Console("x" * 10_000) for _ in range(100)))
        answered = await asyncio.wait_for(answer, 2)
        assert answered.error is not None
        assert "it goes on" in answered.error.message


async def test_a_slow_reader_of_the_end_gets_it(state: Path) -> None:
    """What was told before the end is not lost because the end came."""
    async with Desk().serving(state) as desk, raw(state) as (reader, writer):
        writer.write(encode_request(Rebuild()))
        desk.fan.begin([await taken(desk)])
        desk.play(7, *(ev.Console("x" * 1000) for _ in range(1000)), finished())
        await asyncio.sleep(0.1)
        lines = [line async for line in reader]
        assert len(lines) == 1003
        assert lines[-1].startswith(b'{"protocol":1,"answer":"done"')


@pytest.mark.parametrize(
    "request_line",
    [b"make it so\n", b"{}\n", b"x" * (REQUEST_LIMIT_BYTES * 3), b'{"protocol":99,"request":"rebuild"}\n', b"\n"],
    ids=["garbage", "empty object", "oversized", "of the future", "empty"],
)
async def test_what_is_no_request_is_answered_and_hung_up(state: Path, request_line: bytes) -> None:
    """No order comes of it, the client is told, and others are served."""
    async with Desk().serving(state) as desk:
        async with raw(state) as (reader, writer):
            writer.write(request_line)
            answer = decode_answer(await asyncio.wait_for(reader.readline(), 2))
            assert isinstance(answer, Failed)
            assert answer.exit_code == 2
        assert desk.taken.empty()
        async with reached(state):
            pass


async def test_half_a_request_is_not_waited_for_forever(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither of a client that stops in the middle, nor of one that hangs up there."""
    monkeypatch.setattr(server, "_REQUEST_TIMEOUT_S", 0.1)
    async with Desk().serving(state) as desk:
        async with raw(state) as (reader, writer):
            writer.write(encode_request(Rebuild())[:-5])
            assert await asyncio.wait_for(reader.read(), 2) == b""
        async with raw(state) as (_, writer):
            writer.write(encode_request(Rebuild())[:-5])
        await asyncio.sleep(0.05)
        assert desk.taken.empty()


async def test_talking_out_of_turn_ends_it(state: Path) -> None:
    """A second request on one connection is nobody's."""
    async with Desk().serving(state) as desk, raw(state) as (reader, writer):
        writer.write(encode_request(Rebuild()) * 2)
        await taken(desk)
        assert await asyncio.wait_for(reader.read(), 2) == b""
        assert desk.taken.empty()


async def test_there_is_an_end_to_how_many_are_served(state: Path) -> None:
    """One more than that is turned away at once, and welcome again when somebody has left."""
    async with Desk().serving(state):
        many = [await control.reach(settings_for(state)) for _ in range(server._CLIENTS)]
        assert all(many)
        assert await control.reach(settings_for(state), 1) is None
        for one in many:
            assert one is not None
            await one.close()
        await asyncio.sleep(0.05)
        async with reached(state):
            pass


async def test_a_watch_that_hangs_is_not_waited_for(state: Path, other_watch: OtherWatch) -> None:
    """It is as if there were none, within the patience given; and it finds no order when it wakes up."""
    with other_watch() as process:
        process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        assert await control.reach(settings_for(state), 0.2) is None
        assert 0.15 < time.monotonic() - began < 0.5
        process.send_signal(signal.SIGCONT)
        async with reached(state) as watch:
            assert watch.standing.cycle is None


async def test_nobody_there(state: Path) -> None:
    """No watch, no state directory: None, at once."""
    assert await control.reach(settings_for(state)) is None
    assert await control.reach(settings_for(state / "none")) is None


async def test_other_settings_are_noticed(state: Path) -> None:
    """A watch that was started before the config was edited is told from one that works with it as it is."""
    from dataclasses import replace  # noqa: PLC0415

    async with Desk().serving(state), reached(state) as watch:
        assert watch.is_alike
        other = await control.reach(replace(settings_for(state), keep=3))
        assert other is not None
        assert not other.is_alike
        await other.close()


async def test_the_console_is_followed(state: Path) -> None:
    """Lines so far, lines to come, and the end of the cycle; nothing else."""
    async with Desk().serving(state) as desk, reached(state) as watch:
        desk.play(7, ev.StageStarted(Stage.BOOT), ev.Console("one"))
        heard: list[str] = []
        first = asyncio.Event()

        def hear(line: str) -> None:
            heard.append(line)
            first.set()

        following = asyncio.create_task(watch.follow_console(hear))
        await asyncio.wait_for(first.wait(), 2)
        desk.emit.bound(cycle=7)(ev.Console("two"))
        desk.emit.bound(cycle=7)(FAILED)
        await asyncio.wait_for(following, 2)
        assert heard == ["one", "two"]


async def test_a_place_that_cannot_be_made_is_told(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Watch goes on without a socket, and says so."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    monkeypatch.setattr("nixvm_loop.control.place._owner", lambda _: 2**31)
    (state / "control.sock").mkdir()
    async with Desk().serving(state) as desk:
        assert len(desk.told) == 1
        assert isinstance(desk.told[0], ev.Notice)
        assert "cannot reach this watch" in desk.told[0].message
