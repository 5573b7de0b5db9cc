from __future__ import annotations

import asyncio

import pytest

from nixvm_loop.cycle.gate import Gate, SupersededError


async def test_a_newer_save_cancels_the_build_and_the_build_cleans_up() -> None:
    """The build's own clean-up has ended when the cycle learns that it was superseded."""
    done: list[str] = []
    passed: list[str] = []

    async def build() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            done.append("cleaned")

    gate = Gate(lambda: passed.append("passed"))
    cycle = asyncio.create_task(gate.build(build()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gate.supersede()
    with pytest.raises(SupersededError):
        await cycle
    assert (done, passed) == (["cleaned"], [])


async def test_after_the_build_a_save_cancels_nothing() -> None:
    """Past the point of no return `supersede` is without effect."""

    async def build() -> int:
        return 7

    gate = Gate()
    assert await gate.build(build()) == 7
    gate.supersede()
    assert await gate.critical(build()) == 7


async def test_ctrl_c_waits_for_the_critical_part() -> None:
    """However often it is cancelled, the critical part ends first, and then the cancellation goes on."""
    steps: list[str] = []

    async def critical() -> None:
        await asyncio.sleep(0.05)
        steps.append("started the guest")

    gate = Gate()
    cycle = asyncio.create_task(gate.critical(critical()))
    for _ in range(3):
        await asyncio.sleep(0.005)
        cycle.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cycle
    assert steps == ["started the guest"]


async def test_insisting_ends_the_critical_part_too() -> None:
    """A second Ctrl-C is obeyed at once."""
    gate = Gate()
    cycle = asyncio.create_task(gate.critical(asyncio.sleep(60)))
    await asyncio.sleep(0.005)
    cycle.cancel()
    await asyncio.sleep(0)
    gate.abort()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(cycle, 1)


async def test_a_failure_in_the_critical_part_is_told() -> None:
    """An error is raised as it is; together with a cancellation, the cancellation wins."""

    async def fail() -> None:
        await asyncio.sleep(0.01)
        raise EOFError

    with pytest.raises(EOFError):
        await Gate().critical(fail())
    cycle = asyncio.create_task(Gate().critical(fail()))
    await asyncio.sleep(0)
    cycle.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cycle


async def test_a_save_before_the_build_starts_cancels_it_too() -> None:
    """A cycle that still waits for the guest's lock is superseded like one that builds."""

    async def build() -> None:
        raise AssertionError

    gate = Gate()
    gate.supersede()
    with pytest.raises(SupersededError):
        await gate.build(build())
