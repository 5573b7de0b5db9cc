"""nixvm-loop as the benchmark starts it: events with the time of their arrival, and the waits that it logged."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchlib.series import Interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

REPO: Final = Path(__file__).resolve().parents[2]
EVENT_TIMEOUT_S: Final = 120.0
_STOP_TIMEOUT_S: Final = 20.0


class BenchError(Exception):
    """A measurement that could not be made."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event, and when its line was read (`time.monotonic`)."""

    at_s: float
    event: dict[str, Any]

    def is_a(self, kind: str) -> bool:
        """Whether the event is of this type."""
        return bool(self.event["type"] == kind)


@dataclass(frozen=True, slots=True)
class Wait:
    """A span that nixvm-loop logged; `kind` is a `SpanKind`'s value."""

    kind: str
    what: str
    when: Interval

    @property
    def for_others(self) -> bool:
        """Whether it counts as somebody else's time; of the children only Nix's own programs do."""
        return self.kind != "process" or Path(self.what).name.startswith("nix")


def command(*arguments: str) -> list[str]:
    """The command line of nixvm-loop."""
    return [sys.executable, "-m", "nixvm_loop", *arguments]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment that nixvm-loop and the tracer are found in."""
    return {**os.environ, "PYTHONPATH": f"{REPO}:{REPO / 'scripts'}", **(extra or {})}


class Tool:
    """A running `nixvm-loop ... -o json`."""

    def __init__(self, folder: Path, *arguments: str, extra_env: Mapping[str, str] | None = None) -> None:
        self._spans = folder / f"spans-{time.monotonic_ns()}"
        self.started_s = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchlib.traced", str(self._spans), *arguments, "-o", "json"],
            cwd=folder,
            env=environment(extra_env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.arrivals: list[Arrival] = []
        self._queue: queue.SimpleQueue[Arrival | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self._queue.put(Arrival(time.monotonic(), json.loads(line)))
        self._queue.put(None)

    def next(self, timeout_s: float = EVENT_TIMEOUT_S) -> Arrival | None:
        """The next event; None at the end. Raises BenchError when none comes."""
        try:
            arrival = self._queue.get(timeout=timeout_s)
        except queue.Empty as error:
            raise BenchError(f"nixvm-loop has said nothing for {timeout_s:g} s") from error
        if arrival is not None:
            self.arrivals.append(arrival)
        return arrival

    def until(self, wanted: Callable[[Arrival], bool]) -> tuple[Arrival, ...]:
        """The events up to the one that is wanted. Raises BenchError when it ends before."""
        seen: list[Arrival] = []
        while (arrival := self.next()) is not None:
            seen.append(arrival)
            if wanted(arrival):
                return tuple(seen)
        raise BenchError(f"nixvm-loop has ended: {self._errors()}")

    def cycle(self, verdict: str) -> tuple[Arrival, ...]:
        """The events up to the end of the next cycle. Raises BenchError unless that is as expected."""
        seen = self.until(lambda arrival: arrival.is_a("cycle_finished"))
        if seen[-1].event["verdict"] != verdict:
            raise BenchError(f"the cycle did not end {verdict}: {seen[-1].event}")
        return seen

    def quiet(self, for_s: float) -> tuple[Arrival, ...]:
        """The events of the next seconds."""
        end_s, seen = time.monotonic() + for_s, []
        while (left_s := end_s - time.monotonic()) > 0:
            try:
                arrival = self._queue.get(timeout=left_s)
            except queue.Empty:
                break
            if arrival is None:
                raise BenchError(f"nixvm-loop has ended: {self._errors()}")
            seen.append(arrival)
        return tuple(seen)

    def ended(self) -> float:
        """Wait for the end of the program, which must be success; when that was (`time.monotonic`)."""
        code = self.process.wait(EVENT_TIMEOUT_S)
        ended_s = time.monotonic()
        if code != 0:
            raise BenchError(f"nixvm-loop has ended with {code}: {self._errors()}")
        return ended_s

    def stop(self) -> None:
        """End it by Ctrl-C, or else by force."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _errors(self) -> str:
        return self.process.stderr.read()[-2000:] if self.process.stderr else ""

    def waits(self) -> tuple[Wait, ...]:
        """When it waited for children, libvirt or the guest, in their order."""
        spans = (json.loads(line) for line in self._spans.read_text(encoding="utf-8").splitlines())
        return tuple(
            Wait(span["kind"], span["what"], Interval(span["began_s"], span["ended_s"]))
            for span in sorted(spans, key=lambda span: span["began_s"])
        )


def stage_seconds(events: Iterable[Arrival]) -> dict[str, float]:
    """How long each stage took, by its name."""
    return {arrival.event["stage"]: arrival.event["seconds"] for arrival in events if arrival.is_a("stage_finished")}


def first(events: Iterable[Arrival], kind: str, containing: str = "") -> Arrival:
    """The first event of a type (with this in its line of console). Raises BenchError when there is none."""
    for arrival in events:
        if arrival.is_a(kind) and containing in arrival.event.get("line", ""):
            return arrival
    raise BenchError(f"there was no {kind} event {containing}")
