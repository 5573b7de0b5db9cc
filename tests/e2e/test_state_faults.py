"""A state directory that was damaged, is in an impossible place, or was made for a domain of another name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.lab import Lab


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Iterator[Lab]:
    """A running guest of a user in group libvirt."""
    made = make_lab(as_user=True)
    assert made.loop("create", "--start").returncode == 0
    yield made
    made.remove()


@pytest.mark.parametrize(
    ("place", "reason"),
    [("/root/x", "Permission denied"), ("/dev/null", "Not a directory"), ("/nonexist/x", "Permission denied")],
)
def test_a_state_directory_in_an_impossible_place(lab: Lab, place: str, reason: str) -> None:
    """Who writes is told once which path, why, and what to set; exit 4. The guest goes on."""
    before = lab.boot_id()
    with lab.configured(f'state_dir = "{lab.state.parent}"', f'state_dir = "{place}"'):
        said = lab.fails(4)
    (error,) = [line for line in said.splitlines() if "error: " in line]
    assert error.count(place) == 1
    assert error.endswith(f": {reason}")
    assert "hint: set state_dir to a folder that this user may write" in said
    assert "Errno" not in said
    assert lab.boot_id() == before


def test_a_damaged_guest_json(lab: Lab) -> None:
    """Every command names the file and says that it may be removed, which is a cure."""
    file = lab.state / "guest.json"
    lab.write(file, "{")
    for command in ("rebuild", "verify", "status", "delete"):
        said = lab.fails(4, command=command)
        assert f"{file} is damaged: it is not JSON" in said
        assert "hint: remove it" in said
    lab.run("rm", str(file))
    assert lab.cycle()["verdict"] == "unchanged"


def test_a_damaged_journal(lab: Lab) -> None:
    """Bytes that are no text fail neither a cycle nor `status`."""
    lab.run("sh", "-c", 'printf "\\377\\376\\n" >>"$1"', "sh", str(lab.state / "journal.jsonl"))
    assert lab.cycle()["verdict"] == "unchanged"
    done = lab.loop("status")
    assert done.returncode == 0, done.stderr
    assert "unchanged" in done.stdout + done.stderr


def test_a_damaged_key(lab: Lab) -> None:
    """What the hint says cures it: without the key, `verify` makes none, `rebuild` does and hands it to the guest."""
    key = lab.state / "ssh/id_ed25519"
    lab.write(key, "no key")
    for command in ("verify", "rebuild"):
        said = lab.fails(6, command=command)
        assert f"the SSH key {key} cannot be read" in said
        assert "remove it: nixvm-loop rebuild makes a new one" in said
    lab.run("rm", str(key))
    said = lab.fails(6, command="verify")
    assert f"there is no SSH key {key}" in said
    assert "nixvm-loop rebuild makes a new one and hands it to the guest" in said
    assert not key.exists()
    assert lab.cycle()["verdict"] == "ok"
    assert lab.guest("echo reached") == "reached"
    assert lab.loop("verify").returncode == 0


def test_another_domain_in_the_config(lab: Lab) -> None:
    """`create` names the guest's domain; `delete` removes that one, running as it is, and leaves nothing."""
    other = f"{lab.name}-other"
    with lab.configured("state_dir = ", f'domain = "{other}"\nstate_dir = '):
        said = lab.fails(5, command="create")
        assert f"this guest's domain is {lab.name} (UUID {lab.virsh('domuuid', lab.name)}), not {other}" in said
        assert lab.domain_state() == "running"
        assert f"domain {lab.name} (the state was made for it" in lab.fails(2, command="delete")
        done = lab.loop("delete", "--yes")
    assert done.returncode == 0, done.stderr
    assert f"domain {lab.name} (the state was made for it; the config names {other}) is removed" in done.stderr
    assert lab.name not in lab.virsh("list", "--all", "--name").split()
    assert not lab.state.exists()
    assert lab.strays() == []
