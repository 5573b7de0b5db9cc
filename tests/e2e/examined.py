"""What `doctor` tells in the end-to-end tests, and guests for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.e2e.lab import Lab


def examined(lab: Lab, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    """The events of one `doctor`; it has to end with this exit code."""
    done = lab.loop("doctor", "-o", "json", *arguments)
    assert "Traceback" not in done.stderr, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == code, (found(events), done.stderr)
    return events


def ids(lab: Lab, *arguments: str, code: int = 0) -> set[str]:
    """The ids that one `doctor` finds."""
    return set(found(examined(lab, *arguments, code=code)))


def found(events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The findings by their ids."""
    return {event["id"]: event for event in events if event["type"] == "finding"}


def probes(events: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    """Outcome and word of each probe, by area and name."""
    return {
        f"{event['area']}/{event['probe']}": (event["outcome"], event["said"])
        for event in events
        if event["type"] == "probe_finished"
    }
