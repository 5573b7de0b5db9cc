from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nixvm_loop import config

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.lab import Lab

pytestmark = pytest.mark.e2e


def test_from_a_flake_to_a_domain(make_lab: Callable[..., Lab]) -> None:
    """The next step that `init` names works as it stands; a domain that is there by then decides about [machine]."""
    lab = make_lab(as_user=True)
    file = lab.flake / "nixvm-loop.toml"

    def init(*env: str) -> str:
        lab.run("rm", "-f", str(file))
        done = lab.run("env", *env, "nixvm-loop", "init", "--flake", "./guest")
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        return done.stderr

    try:
        assert "hint: nixvm-loop create --start -c guest/nixvm-loop.toml defines its domain" in init()
        assert config.load(file).guests["demo"].flake_dir == lab.flake
        assert lab.run("git", "-C", str(lab.flake), "status", "--porcelain").stdout == "?? nixvm-loop.toml\n"
        done = lab.loop("create", "-c", "guest/nixvm-loop.toml")
        assert done.returncode == 0, done.stderr
        assert lab.virsh("domstate", "demo") == "shut off"
        assert "create --start" in init()
        assert "libvirt has a domain demo already" in init(f"XDG_STATE_HOME={lab.folder}/elsewhere")
        assert config.load(file).guests["demo"].machine is None
        init()
    finally:
        assert lab.loop("delete", "--yes", "-c", "guest/nixvm-loop.toml").returncode == 0
    assert "demo" not in lab.virsh("list", "--all", "--name").split()
