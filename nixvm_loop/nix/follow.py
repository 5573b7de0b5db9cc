"""Follows a nix run message by message: what it means for the presenters, for the log, and for the verdict."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Final

from nixvm_loop import nixlog
from nixvm_loop.events.types import ActivityKind, ActivityState, BuildActivity, BuildLog, BuildProgress, Event
from nixvm_loop.model.nixerror import NixError

_KEPT_LINES: Final = 20
_STEPS: Final = 100
_UNKNOWN_STEP_BYTES: Final = 1 << 20
_STORE_NAME: Final = re.compile(r"/nix/store/[a-z0-9]{32}-([^/]+?)(?:\.drv)?(?:/.*)?")
_COPYING: Final = re.compile(r"copying '([^']+)'")
_CACHE_TRAFFIC: Final = re.compile(r"\.narinfo$|/nix-cache-info$|/nar/")
# Said in every cycle of somebody who edits, or of a flake with a local input: no news.
_NOISE: Final = re.compile(
    r"warning: (Git tree .* is dirty|not writing modified lock file)"
    r"|(this derivation|these \d+ derivations) will be built:|  /nix/store/\S+\.drv$"
)


@dataclass(frozen=True, slots=True)
class Heard:
    """What one message gave: events for the presenters, lines for the log."""

    events: tuple[Event, ...] = ()
    lines: tuple[str, ...] = ()


@dataclass(slots=True)
class Follower:
    """The state of a nix run. No clock, no input or output: what it says depends on the messages alone.

    Attributes:
        realising: Whether evaluation is over; from the first derivation or path on that Nix looks after.
        logs: The last lines of each derivation's log, by its store path.
        errors: What Nix called an error, in its order.
        tail: The last readable lines, for the case that nothing else explains a failure.
    """

    realising: bool = False
    logs: dict[str, deque[str]] = field(default_factory=dict)
    errors: list[NixError] = field(default_factory=list)
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))
    _activities: dict[int, BuildActivity] = field(default_factory=dict)
    _derivations: dict[int, str] = field(default_factory=dict)
    _counters: set[int] = field(default_factory=set)
    _progress: BuildProgress = field(default_factory=lambda: BuildProgress(0, 0, 0, 0))

    def take(self, message: nixlog.Message) -> Heard:
        """Fold one message in."""
        heard = self._fold(message)
        self.tail.extend(heard.lines)
        return heard

    def _fold(self, message: nixlog.Message) -> Heard:
        match message:
            case nixlog.Start():
                return self._start(message)
            case nixlog.Stop():
                return self._stop(message)
            case nixlog.Result():
                return self._result(message)
            case nixlog.Said():
                return _said(message)
            case NixError():
                self.errors.append(message)
                return Heard(lines=tuple(message.full.splitlines()))
            case nixlog.Plain():
                return Heard((BuildLog(None, message.text),), (message.text,)) if message.text else Heard()

    def _start(self, message: nixlog.Start) -> Heard:
        lines = tuple(message.text.splitlines()) if message.level <= nixlog.INFO_LEVEL else ()
        if message.kind in {nixlog.REALISE, nixlog.BUILDS, nixlog.BUILD}:
            self.realising = True
        if message.kind == nixlog.BUILDS:
            self._counters.add(message.id)
        if message.kind == nixlog.BUILD and message.fields:
            self._derivations[message.id] = str(message.fields[0])
        kind_and_name = _shown(message)
        if kind_and_name is None:
            return Heard(lines=lines)
        kind, name = kind_and_name
        activity = BuildActivity(message.id, kind, ActivityState.STARTED, name, phase=None, done=None, expected=None)
        self._activities[message.id] = activity
        return Heard((activity,), lines)

    def _stop(self, message: nixlog.Stop) -> Heard:
        self._counters.discard(message.id)
        self._derivations.pop(message.id, None)
        activity = self._activities.pop(message.id, None)
        return Heard() if activity is None else Heard((replace(activity, state=ActivityState.STOPPED),))

    def _result(self, message: nixlog.Result) -> Heard:
        if message.kind in nixlog.LOG_LINES and message.fields:
            return self._log_line(message.id, nixlog.clean(str(message.fields[0])))
        if message.kind == nixlog.PROGRESS and message.id in self._counters:
            return self._count(message.fields)
        activity = self._activities.get(message.id)
        changed = None if activity is None else _advanced(activity, message)
        if changed is None:
            return Heard()
        self._activities[message.id] = changed
        return Heard((changed,))

    def _log_line(self, activity: int, line: str) -> Heard:
        derivation = self._derivations.get(activity)
        if derivation is None:
            return Heard((BuildLog(None, line),), (line,))
        self.logs.setdefault(derivation, deque(maxlen=_KEPT_LINES)).append(line)
        name = store_name(derivation)
        return Heard((BuildLog(name, line),), (f"{name}> {line}",))

    def _count(self, fields: tuple[object, ...]) -> Heard:
        numbers = _integers(fields, 4)
        if numbers is None or (progress := BuildProgress(*numbers)) == self._progress:
            return Heard()
        self._progress = progress
        return Heard((progress,))


def store_name(path: str) -> str:
    """The readable part of a store path: `/nix/store/…-linux-6.1.drv` is `linux-6.1`."""
    match = _STORE_NAME.fullmatch(path)
    return path if match is None else match[1]


def _said(message: nixlog.Said) -> Heard:
    lines = tuple(message.text.splitlines())
    if message.level > nixlog.INFO_LEVEL:
        return Heard()
    return Heard(() if _NOISE.match(message.text) else tuple(BuildLog(None, line) for line in lines), lines)


def _shown(message: nixlog.Start) -> tuple[ActivityKind, str] | None:
    """As what, and under which name, an activity is worth showing."""
    fields = [str(item) for item in message.fields]
    shown = None
    match message.kind, fields:
        case nixlog.BUILD, [derivation, *_]:
            shown = ActivityKind.BUILD, store_name(derivation)
        case nixlog.COPY_PATH, [path, source, *_]:
            shown = (ActivityKind.DOWNLOAD if "://" in source else ActivityKind.COPY), store_name(path)
        case nixlog.FILE_TRANSFER, [uri, *_] if not _CACHE_TRAFFIC.search(uri):
            shown = ActivityKind.DOWNLOAD, uri.partition("?")[0].rpartition("/")[2] or uri
        case nixlog.FETCH_TREE, _:
            shown = ActivityKind.DOWNLOAD, message.text
        case nixlog.BUILD_WAITING, _:
            shown = ActivityKind.WAIT, message.text
        case nixlog.UNKNOWN, _ if copied := _COPYING.match(message.text):
            shown = ActivityKind.COPY, copied[1]
        case _:
            pass  # newer versions have more kinds
    return shown if shown is not None and shown[1] else None


def _advanced(activity: BuildActivity, message: nixlog.Result) -> BuildActivity | None:
    """The activity with its news, or None when there is none worth an event."""
    if message.kind == nixlog.SET_PHASE and message.fields:
        phase = nixlog.clean(str(message.fields[0]))
        return None if phase == activity.phase else replace(activity, state=ActivityState.RUNNING, phase=phase)
    if message.kind != nixlog.PROGRESS or (numbers := _integers(message.fields, 2)) is None:
        return None
    done, expected = numbers[0], numbers[1] or None
    if not _worth_showing(activity, done, expected):
        return None
    return replace(activity, state=ActivityState.RUNNING, done=done, expected=expected)


def _worth_showing(activity: BuildActivity, done: int, expected: int | None) -> bool:
    # Downloads report every chunk: one event for each hundredth of the whole is plenty.
    if (done, expected) in {(activity.done, activity.expected), (0, None)}:
        return False
    step = max(1, expected // _STEPS) if expected else _UNKNOWN_STEP_BYTES
    return expected != activity.expected or done == expected or done - (activity.done or 0) >= step


def _integers(fields: tuple[object, ...], count: int) -> tuple[int, ...] | None:
    numbers = tuple(item for item in fields[:count] if isinstance(item, int))
    return numbers if len(numbers) == count else None
