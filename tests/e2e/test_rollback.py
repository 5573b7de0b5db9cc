"""A system that does not come up is given up: the guest is back on the last good one, and the user is told."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.lab import Lab

PANIC = 'startup = "echo broken >/dev/console; exit 1"'
NO_STARTUP = 'startup = ""'
BACK_WITHIN_S = 2.0


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Iterator[Lab]:
    """A guest that has a verified generation."""
    lab = make_lab()
    assert lab.loop("create", "--start").returncode == 0
    yield lab
    lab.remove()


@pytest.fixture(autouse=True)
def _nothing_left(lab: Lab) -> Iterator[None]:
    yield
    assert lab.strays() == []


def events(lab: Lab, *arguments: str) -> list[dict[str, Any]]:
    """The events of a `rebuild`."""
    return [json.loads(line) for line in lab.loop("rebuild", "-o", "json", *arguments).stdout.splitlines()]


def only(found: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The one event of a type."""
    (event,) = (event for event in found if event["type"] == kind)
    return event


def when(event: dict[str, Any]) -> float:
    """An event's time in seconds."""
    return datetime.fromisoformat(event["time"]).timestamp()


def about(lab: Lab, number: int) -> dict[str, Any]:
    """What the disk says of a generation."""
    value: dict[str, Any] = json.loads((lab.state / f"generations/{number}/generation.json").read_text())
    return value


def test_a_system_that_panics(lab: Lab) -> None:
    """The guest runs the last good system again, libvirt boots it, and one message has both facts."""
    good = lab.booted()
    with lab.edited("configuration.nix", NO_STARTUP, PANIC):
        found = events(lab)
        bad = lab.toplevel()
    ended = only(found, "cycle_finished")
    assert (ended["verdict"], ended["exit_code"], ended["action"]) == ("failed", 6, "restart")
    assert "panicked" in ended["error"]["message"]
    assert "rolled back to generation 1, which is verified" in ended["error"]["message"]
    rolled = only(found, "rolled_back")
    assert (rolled["from"], rolled["to"]) == (2, 1)
    assert bad != good
    assert lab.booted() == good
    assert f"init={good}/init" in lab.virsh("dumpxml", "--inactive", lab.name)
    assert (lab.state / "current").readlink().name == "1"
    panic = next(event for event in found if event["type"] == "console" and "Kernel panic" in event["line"])
    assert when(rolled) - when(panic) < BACK_WITHIN_S
    assert (about(lab, 2)["verdict"], about(lab, 1)["verdict"]) == ("failed", "ok")
    folder = lab.state / f"cycles/{ended['cycle']}"
    assert "broken" in (folder / "console.log").read_text()
    assert "nixvm-loop-host-key" in (folder / "rollback-console.log").read_text()


def test_it_is_not_tried_again(lab: Lab) -> None:
    """The same system again fails at once, and the guest runs on; `--force` tries it; the good one is unchanged."""
    before = lab.boot_id()
    with lab.edited("configuration.nix", NO_STARTUP, PANIC):
        ended = only(events(lab), "cycle_finished")
        assert (ended["verdict"], ended["exit_code"], ended["action"]) == ("failed", 6, "none")
        assert "generation 2 of this very system failed before" in ended["error"]["message"]
        assert lab.boot_id() == before
        forced = events(lab, "--force")
        assert (only(forced, "rolled_back")["from"], only(forced, "rolled_back")["to"]) == (2, 1)
    assert lab.boot_id() != before
    assert lab.cycle()["verdict"] == "unchanged"


def test_a_required_check_that_fails(lab: Lab) -> None:
    """It is exit 7 and the last good system, for which the same check holds."""
    check = f'[[guests.{lab.name}.checks]]\nname = "calm"\ncommand = "! test -e /etc/storm"\nrequired = true\n\n'
    with (
        lab.configured(f"[guests.{lab.name}.apply]", f"{check}[guests.{lab.name}.apply]"),
        lab.edited("configuration.nix", "etc = { };", 'etc = { "storm" = "yes"; };'),
    ):
        found = events(lab)
    ended = only(found, "cycle_finished")
    assert (ended["verdict"], ended["exit_code"]) == ("failed", 7)
    assert "calm" in ended["error"]["message"]
    assert only(found, "rolled_back")["to"] == 1
    assert lab.guest("ls /etc").split().count("storm") == 0
    assert lab.cycle()["verdict"] == "unchanged"


def test_a_machine_that_cannot_start(lab: Lab) -> None:
    """What the config asks of the domain is undone as well: the guest runs again in the definition that it had."""
    before = lab.virsh("dumpxml", "--inactive", lab.name)
    with lab.configured('memory = "512MiB"', 'memory = "16000GiB"'):
        found = events(lab)
    ended = only(found, "cycle_finished")
    assert (ended["verdict"], ended["exit_code"]) == ("failed", 5)
    assert "rolled back to generation 1" in ended["error"]["message"]
    assert lab.virsh("dumpxml", "--inactive", lab.name) == before
    assert lab.booted() == lab.toplevel()


def test_rollback_can_be_off(lab: Lab) -> None:
    """The failed guest stays for a look, and later the last good system is one save away."""
    with (
        lab.configured(f"[guests.{lab.name}.apply]", f"[guests.{lab.name}.apply]\nrollback = false"),
        lab.edited("configuration.nix", NO_STARTUP, 'startup = "echo stuck >/dev/console; while :; do sleep 9; done"'),
        lab.configured('boot_timeout = "60s"', 'boot_timeout = "8s"'),
    ):
        found = events(lab)
        state = lab.domain_state()
    assert not [event for event in found if event["type"] == "rolled_back"]
    assert "rollback is off" in only(found, "cycle_finished")["error"]["message"]
    assert state == "running"
    assert lab.cycle()["verdict"] == "ok"
    assert lab.booted() == lab.toplevel()


def test_the_last_good_one_fails_too(lab: Lab) -> None:
    """When nothing comes up, that is said, and nothing more is tried."""
    check = f'[[guests.{lab.name}.checks]]\nname = "never"\ncommand = "false"\nrequired = true\n\n'
    with (
        lab.configured(f"[guests.{lab.name}.apply]", f"{check}[guests.{lab.name}.apply]"),
        lab.edited("configuration.nix", "Hello from the mini guest.", "Another hello."),
    ):
        found = events(lab)
    assert sum(event["type"] == "rolled_back" for event in found) == 1
    message = only(found, "cycle_finished")["error"]["message"]
    assert "the last good one, does not come up either" in message
    assert lab.domain_state() == "running"
    assert lab.cycle()["verdict"] in {"ok", "unchanged"}


def test_killed_on_the_way_back(lab: Lab) -> None:
    """The next `rebuild` of the same bad system does not try it again, but brings the guest back all the same."""
    assert lab.cycle()["verdict"] in {"ok", "unchanged"}
    good = lab.booted()
    with lab.edited("configuration.nix", NO_STARTUP, 'startup = "echo worse >/dev/console; exit 1"'):
        process = subprocess.Popen(
            ["nixvm-loop", "rebuild", "-o", "json"], cwd=lab.folder, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for line in process.stdout:
            if '"rolled_back"' in line:
                process.kill()
        process.communicate()
        found = events(lab)
    assert "failed before" in only(found, "cycle_finished")["error"]["message"]
    assert "rolled back to generation" in only(found, "cycle_finished")["error"]["message"]
    assert lab.booted() == good


def test_back_to_where_the_user_was(lab: Lab) -> None:
    """Who rolled back by hand does not find the guest on the newer generation after a bad save."""
    with lab.edited("configuration.nix", "Hello from the mini guest.", "The newer one."):
        assert lab.cycle()["verdict"] == "ok"
    assert lab.loop("rollback").returncode == 0
    older = lab.booted()
    with lab.edited("configuration.nix", NO_STARTUP, 'startup = "echo as bad >/dev/console; exit 1"'):
        found = events(lab)
    assert only(found, "cycle_finished")["verdict"] == "failed"
    assert lab.booted() == older


def test_nothing_was_ever_good(make_lab: Callable[..., Lab]) -> None:
    """A first system that fails leaves nothing to go back to, which is said; the next good save starts the guest."""
    lab = make_lab()
    assert lab.loop("create").returncode == 0
    with lab.edited("configuration.nix", NO_STARTUP, PANIC):
        ended = only(events(lab), "cycle_finished")
    assert ended["exit_code"] == 6
    assert "no other generation was ever verified" in ended["error"]["message"]
    assert lab.cycle()["verdict"] == "ok"
    lab.remove()
