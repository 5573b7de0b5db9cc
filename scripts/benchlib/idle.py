"""What a `watch` costs that has nothing to do."""

from __future__ import annotations

import os
import pty
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchlib.desk import Desk, created
from benchlib.tool import BenchError, Tool, command, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchlib.series import Series

_SETTLE_S: Final = 5.0
_IDLE_S: Final = 30.0
_START_TIMEOUT_S: Final = 60.0
_NS_PER_S: Final = 1_000_000_000
_KIB: Final = 1024


def measure(top: Path, series: Series) -> None:
    """Look at one that writes JSON, then at one that draws the live view on a terminal."""
    desk = created(top, "idle")
    tool = Tool(desk.folder, "watch")
    try:
        tool.until(lambda arrival: arrival.is_a("cycle_finished"))
        _look(tool.process.pid, "json", series)
    finally:
        tool.stop()
    with _live(desk) as process:
        _look(process.pid, "live", series)


def _look(pid: int, name: str, series: Series) -> None:
    time.sleep(_SETTLE_S)
    began_s, before_s = time.monotonic(), _cpu_s(pid)
    time.sleep(_IDLE_S)
    series.add(f"{name}: core", (_cpu_s(pid) - before_s) / (time.monotonic() - began_s))
    memory = _memory(pid)
    series.add(f"{name}: rss", memory["Rss"])
    series.add(f"{name}: pss", memory["Pss"])


def _cpu_s(pid: int) -> float:
    # In nanoseconds, where /proc/PID/stat counts hundredths of a second.
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / _NS_PER_S


def _memory(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()[1:]
    return {name: int(rest.split()[0]) * _KIB for name, _, rest in (line.partition(":") for line in lines)}


@contextmanager
def _live(desk: Desk) -> Iterator[subprocess.Popen[bytes]]:
    """A watch on a terminal, after its first cycle."""
    cycles = _cycles(desk)
    master, slave = pty.openpty()
    process = subprocess.Popen(
        command("watch"),
        cwd=desk.folder,
        env=environment({"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    threading.Thread(target=_drain, args=(master,), daemon=True).start()
    try:
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while _cycles(desk) == cycles:
            if time.monotonic() > deadline_s or process.poll() is not None:
                raise BenchError("watch on a terminal has not finished its first cycle")
            time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        process.wait()


def _cycles(desk: Desk) -> int:
    journal = desk.folder / "state" / desk.name / "journal.jsonl"
    return len(journal.read_text(encoding="utf-8").splitlines())


def _drain(master: int) -> None:
    # The other end is closed when the program ends.
    with suppress(OSError):
        while os.read(master, 1 << 16):
            pass
