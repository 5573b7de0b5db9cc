"""`doctor` on real parts, each broken for real: found by its id, and cured by the fix that stands there."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.lab import Lab

PROGRAM = "printf '#!/bin/sh\\necho one\\n' > $out/bin/one; chmod +x $out/bin/one"
# For so long, virtiofs takes its own word for what it has seen.
REMEMBERED_S = 1.5


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Iterator[Lab]:
    """A verified guest of root's with a small path of its own in its system."""
    made = make_lab()
    made.edit("configuration.nix", "packages = { };", f"packages = {{ one = ''mkdir -p $out/bin; {PROGRAM}''; }};")
    assert made.loop("create", "--start").returncode == 0
    yield made
    made.remove()


def examined(lab: Lab, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    """The events of one `doctor`; it has to end with this exit code."""
    done = lab.loop("doctor", "-o", "json", *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


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


@pytest.fixture
def path(lab: Lab) -> Path:
    """The small path."""
    return Path(lab.guest("dirname $(dirname $(readlink -f /run/current-system/sw/bin/one))"))


def test_nothing_on_a_healthy_guest(lab: Lab) -> None:
    """No finding at all, exit 0, soon; and what was kept of the guest is as it was."""
    before = {name: (lab.state / name).read_bytes() for name in ("seen.json", "ssh/known_hosts", "journal.jsonl")}
    began = time.monotonic()
    events = examined(lab)
    seconds = time.monotonic() - began
    assert found(events) == {}
    assert {outcome for name, (outcome, _) in probes(events).items() if name != "guest/units"} == {"ok"}
    assert probes(events)["guest/units"] == ("not possible", "the guest has no systemd")
    assert {name: (lab.state / name).read_bytes() for name in before} == before
    assert seconds < 10, "2 s on a machine that has nothing else to do"


def test_a_path_that_the_overlay_hides(lab: Lab, path: Path) -> None:
    """Looked up while it was away: named, exit 7, and cured by --fix."""
    aside = path.with_name("aside")
    path.rename(aside)
    time.sleep(REMEMBERED_S)
    assert lab.guest(f"echo 2 >/proc/sys/vm/drop_caches; [ -e {path} ] || echo missing") == "missing"
    gone = found(examined(lab, code=7))
    assert gone.keys() == {"store-gone"}
    assert str(path) in gone["store-gone"]["evidence"]
    aside.rename(path)
    time.sleep(REMEMBERED_S)
    hidden = found(examined(lab, code=7))
    assert hidden.keys() == {"store-hidden"}
    assert hidden["store-hidden"]["evidence"] == str(path)
    assert "verify --refresh" in hidden["store-hidden"]["fix"]
    assert found(examined(lab, "--fix", "--yes", code=7)).keys() == {"store-hidden"}
    assert found(examined(lab)) == {}


def test_a_path_that_was_replaced(lab: Lab, path: Path) -> None:
    """Deleted and built again under the guest: told apart from a hidden one, and cured likewise."""
    aside = path.with_name("aside")
    lab.guest(f"cat {path}/bin/one")
    shutil.copytree(path, aside, symlinks=True)
    shutil.rmtree(path)
    aside.rename(path)
    time.sleep(REMEMBERED_S)
    lab.guest(f"ls /nix/.ro-store/{path.name}")
    stale = found(examined(lab, code=7))
    assert stale.keys() == {"store-stale"}
    assert stale["store-stale"]["evidence"] == str(path)
    assert lab.loop("verify", "--refresh").returncode == 0
    assert found(examined(lab)) == {}


def test_nobody_to_ask(lab: Lab, path: Path) -> None:
    """Without a terminal, --fix changes nothing and says so."""
    path.rename(path.with_name("aside"))
    time.sleep(REMEMBERED_S)
    lab.guest(f"echo 2 >/proc/sys/vm/drop_caches; [ -e {path} ] || true")
    path.with_name("aside").rename(path)
    time.sleep(REMEMBERED_S)
    done = subprocess.run(
        ["nixvm-loop", "doctor", "--fix"],
        cwd=lab.folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 2
    assert "there is nobody to ask" in done.stderr
    assert found(examined(lab, "--fix", "--yes", code=7)).keys() == {"store-hidden"}
    assert found(examined(lab)) == {}
