"""Garbage collection on the host: what is kept still boots, and what was let go is really freed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.lab import Lab

KEPT = 2


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Iterator[Lab]:
    """A guest of a user who is not root, of which two generations are kept, and whose systems are nobody else's."""
    lab = make_lab(as_user=True)
    lab.edit("configuration.nix", "Hello from the mini guest.", "Collected.")
    text = (lab.folder / "nixvm-loop.toml").read_text()
    lab.configure(text.replace("state_dir =", f"keep = {KEPT}\nstate_dir ="))
    assert lab.loop("create", "--start").returncode == 0
    yield lab
    lab.remove()


def test_nix_collect_garbage(lab: Lab) -> None:
    """The guest runs on; every kept generation boots; a pruned one's paths are gone."""
    systems = [lab.toplevel()]
    for number in (2, 3, 4):
        lab.edit("configuration.nix", f'label = "{number - 1}";', f'label = "{number}";')
        assert lab.cycle()["verdict"] == "ok"
        systems.append(lab.toplevel())
    kept = sorted(int(path.name) for path in (lab.state / "generations").iterdir())
    assert kept == [3, 4]
    done = lab.run("nix-collect-garbage")
    assert done.returncode == 0, done.stderr
    assert [Path(system).exists() for system in systems] == [False, False, True, True]
    assert lab.guest("cat /run/current-system/nixos-version") != ""
    assert lab.loop("verify").returncode == 0
    assert lab.loop("rollback").returncode == 0
    assert lab.booted() == systems[2]
    assert lab.loop("rollback", "4").returncode == 0
    assert lab.booted() == systems[3]


def test_a_path_that_was_deleted_by_force(lab: Lab) -> None:
    """It is named where its generation is asked for, and is no place to go back to; the guest is not touched for it."""
    before = lab.boot_id()
    toplevel = (lab.state / "generations/3/toplevel").readlink()
    done = subprocess.run(
        ["nix-store", "--delete", "--ignore-liveness", toplevel], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said = lab.fails(4, "3", command="rollback")
    assert str(toplevel) in said
    listed = lab.loop("history", "-o", "json")
    (event,) = map(json.loads, listed.stdout.splitlines())
    (damaged,) = (one for one in event["generations"] if one["number"] == 3)
    assert "gone from the store" in json.dumps(damaged)
    assert "no verified generation before" in lab.fails(4, command="rollback")
    assert lab.boot_id() == before
