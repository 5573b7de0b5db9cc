from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nixvm_loop.errors import UsageError
from nixvm_loop.process import Request, Stream, run

if TYPE_CHECKING:
    from collections.abc import Callable


def sh(script: str, *, interrupt_wait_s: float = 0.3, stdin: bytes | None = None) -> Request:
    return Request(("sh", "-c", script), interrupt_wait_s=interrupt_wait_s, stdin=stdin)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


async def soon(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:  # noqa: ASYNC110  # other processes set no event
        await asyncio.sleep(0.01)
    return condition()


def pids_in(folder: Path) -> list[int]:
    return [int(file.read_text()) for file in folder.iterdir() if file.read_text().endswith("\n")]


async def cancelled_once_started(request: Request, folder: Path, count: int) -> list[int]:
    """Start, wait for `count` pid files, cancel; gives the pids."""
    task = asyncio.create_task(run(request))
    assert await soon(lambda: len(pids_in(folder)) == count)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return pids_in(folder)


async def test_output_is_kept() -> None:
    """Without a listener the outcome holds both texts, the exit code and the time."""
    outcome = await run(sh("echo out; echo err >&2; exit 3"))
    assert (outcome.stdout, outcome.stderr, outcome.exit_code) == (b"out\n", b"err\n", 3)
    assert not outcome.ok
    assert 0 < outcome.seconds < 30


async def test_lines_are_handed_on() -> None:
    """A listener gets each line without its newline, the last one even if it has none, and the outcome stays empty."""
    lines: list[tuple[Stream, bytes]] = []
    outcome = await run(sh("printf 'a\\n\\nb'; printf c >&2"), lambda stream, line: lines.append((stream, line)))
    assert [line for stream, line in lines if stream is Stream.STDOUT] == [b"a", b"", b"b"]
    assert [line for stream, line in lines if stream is Stream.STDERR] == [b"c"]
    assert (outcome.stdout, outcome.stderr) == (b"", b"")


async def test_a_line_of_20_megabytes() -> None:
    """A giant line arrives whole in bounded pieces, and the lines around it as they are."""
    lines: list[bytes] = []
    program = "import sys; sys.stdout.write('first\\n' + 'x' * 20_000_000 + '\\nlast\\n')"
    await run(Request((sys.executable, "-c", program)), lambda _stream, line: lines.append(line))
    assert (lines[0], lines[-1]) == (b"first", b"last")
    assert b"".join(lines[1:-1]) == b"x" * 20_000_000
    assert len(lines) <= 4


async def test_stdin_is_given() -> None:
    """The child reads what the request holds, and nothing when it holds nothing."""
    assert (await run(sh("cat", stdin=b"x" * 1_000_000))).stdout == b"x" * 1_000_000
    assert (await run(sh("cat"))).stdout == b""


async def test_a_child_that_does_not_read_its_stdin() -> None:
    """More input than a pipe holds neither hangs nor fails when the child ends without reading it."""
    outcome = await run(sh("exec true", stdin=b"x" * 5_000_000))
    assert outcome.ok


async def test_a_program_that_is_not_installed() -> None:
    """The error names the program."""
    with pytest.raises(UsageError, match="no-such-program is not installed"):
        await run(Request(("no-such-program",)))


async def test_a_program_that_cannot_be_started(tmp_path: Path) -> None:
    """A working directory that does not exist is an error of the call."""
    with pytest.raises(UsageError, match="sh could not be started"):
        await run(Request(("sh", "-c", "true"), cwd=tmp_path / "none"))


async def test_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Variables are added and removed, the rest is passed on, and the folder is the one asked for."""
    monkeypatch.setenv("KEPT", "kept")
    monkeypatch.setenv("REMOVED", "there")
    script = 'echo "$KEPT-${REMOVED-gone}-$ADDED"; pwd -P'
    outcome = await run(Request(("sh", "-c", script), cwd=tmp_path, env={"REMOVED": None, "ADDED": "added"}))
    assert outcome.stdout.decode().split() == ["kept-gone-added", str(tmp_path)]


async def test_death_by_a_signal() -> None:
    """A child that a signal ended has a negative exit code."""
    assert (await run(sh("kill -TERM $$"))).exit_code == -signal.SIGTERM


async def test_a_grandchild_that_holds_the_pipe(tmp_path: Path) -> None:
    """The child's end is the end, although a grandchild of a session of its own keeps the output open."""
    started = time.monotonic()
    outcome = await run(sh(f"setsid sh -c 'echo $$ >{tmp_path}/pid; exec sleep 20' & echo done"))
    assert outcome.stdout == b"done\n"
    assert time.monotonic() - started < 5
    assert await soon(lambda: len(pids_in(tmp_path)) == 1)
    for pid in pids_in(tmp_path):
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


async def test_a_background_process_ends_with_its_parent(tmp_path: Path) -> None:
    """What a child leaves in its own group does not outlive it."""
    await run(sh(f"sleep 20 & echo $! >{tmp_path}/pid"))
    (pid,) = pids_in(tmp_path)
    assert await soon(lambda: not alive(pid))


async def test_a_listener_that_fails(tmp_path: Path) -> None:
    """The listener's error comes out as it is, and the child is stopped."""

    def fail(_stream: Stream, _line: bytes) -> None:
        raise LookupError("the listener")

    with pytest.raises(LookupError, match="the listener"):
        await run(sh(f"echo $$ >{tmp_path}/pid; echo line; exec sleep 20"), fail)
    assert not any(alive(pid) for pid in pids_in(tmp_path))


async def test_cancelling_interrupts(tmp_path: Path) -> None:
    """A child that ends on SIGINT may clean up first, and is not waited for any longer."""
    script = f"trap 'touch {tmp_path}/../cleaned; exit' INT; echo $$ >{tmp_path}/pid; while :; do sleep 0.05; done"
    started = time.monotonic()
    pids = await cancelled_once_started(sh(script, interrupt_wait_s=20), tmp_path, 1)
    assert (tmp_path.parent / "cleaned").exists()
    assert time.monotonic() - started < 10
    assert not any(alive(pid) for pid in pids)


STUBBORN = (
    "trap '' INT; echo $$ >{0}/child;"
    " setsid sh -c 'trap \"\" INT; echo $$ >{0}/own-session; while :; do sleep 0.2; done' &"
    " sh -c 'echo $$ >{0}/own-group; while :; do sleep 0.2; done' &"
    " while :; do sleep 0.2; done"
)


async def test_cancelling_kills_what_ignores_sigint(tmp_path: Path) -> None:
    """A child that ignores SIGINT is killed after its wait, with its descendants in other sessions."""
    pids = await cancelled_once_started(sh(STUBBORN.format(tmp_path)), tmp_path, 3)
    assert await soon(lambda: not any(alive(pid) for pid in pids), 2)


def processes_with(word: str) -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found += [text for text in [(folder / "cmdline").read_text()] if word in text and alive(int(folder.name))]
        except OSError:
            continue
    return found


async def test_cancelling_at_each_step_of_the_start(tmp_path: Path) -> None:
    """Before the child is there, while it is being started, and after: nobody waits for ever, and nothing is left."""
    for steps in range(25):
        folder = tmp_path / str(steps)
        folder.mkdir()
        task = asyncio.create_task(run(sh(STUBBORN.format(folder), interrupt_wait_s=0.1)))
        for _ in range(steps):
            await asyncio.sleep(0)
        time.sleep(0.03)  # noqa: ASYNC251  # the child goes on while the loop stands still
        task.cancel()
        await asyncio.wait({task}, timeout=15)
        assert task.cancelled(), steps
    assert await soon(lambda: not processes_with(str(tmp_path)), 2)


async def test_cancelling_kills_descendants_of_an_obedient_child(tmp_path: Path) -> None:
    """A child that ends on SIGINT leaves no descendant in another session behind."""
    script = f"setsid sh -c 'echo $$ >{tmp_path}/own-session; exec sleep 20' & echo $$ >{tmp_path}/child; wait"
    pids = await cancelled_once_started(sh(script, interrupt_wait_s=5), tmp_path, 2)
    try:
        assert await soon(lambda: not any(alive(pid) for pid in pids), 2)
    finally:
        for pid in pids:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


async def test_a_second_cancellation_does_not_cut_the_first_short(tmp_path: Path) -> None:
    """However often one cancels, the ladder is climbed to its end before the cancellation comes out."""
    task = asyncio.create_task(run(sh(STUBBORN.format(tmp_path), interrupt_wait_s=0.5)))
    assert await soon(lambda: len(pids_in(tmp_path)) == 3)
    before = asyncio.all_tasks() - {task}
    started = time.monotonic()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.1)
        assert not task.done()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - started >= 0.5
    assert await soon(lambda: not any(alive(pid) for pid in pids_in(tmp_path)), 2)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() <= before


PARENT = """
import asyncio, sys
from nixvm_loop.process import Request, run
asyncio.run(run(Request(("sh", "-c", sys.argv[1]))))
"""


async def test_the_child_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """When we are killed ourselves, the kernel interrupts the child."""
    script = (
        f"trap 'touch {tmp_path.parent}/interrupted; exit' INT; echo $$ >{tmp_path}/pid; while :; do sleep 0.05; done"
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, script, cwd=Path(__file__).parents[2])
    assert await soon(lambda: len(pids_in(tmp_path)) == 1)
    parent.kill()
    await parent.wait()
    (pid,) = pids_in(tmp_path)
    assert await soon(lambda: not alive(pid), 3)
    assert (tmp_path.parent / "interrupted").exists()


def test_a_request_reads_as_one_would_type_it() -> None:
    """A request's text is quoted for a shell."""
    assert str(Request(("echo", "two words", "$x"))) == "echo 'two words' '$x'"
