"""The configs of guests: of one whose domain nixvm-loop makes, and of one whose domain is the user's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.lab import Lab

GUEST = """
[guests.{name}]
flake = "./guest"
attribute = "nixosConfigurations.demo"
state_dir = "{state_dir}"
"""


def made(lab: Lab, *, memory: str = "512MiB", vcpus: int = 1, **apply: object) -> str:
    """With [machine]; `apply` are the keys of that table."""
    machine = _table(lab, "machine", {"memory": memory, "vcpus": vcpus, "ssh_port": lab.port})
    return _guest(lab, apply) + machine


def own(lab: Lab, **apply: object) -> str:
    """Without [machine], with the lab's key."""
    return _guest(lab, apply) + _table(lab, "ssh", {"key": str(lab.key)})


def with_key(lab: Lab) -> str:
    """Make the lab a key of its own, which is not nixvm-loop's; the public one."""
    key: Path = lab.folder / "key"
    done = lab.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key))
    assert done.returncode == 0, done.stderr
    lab.key = key
    return key.with_suffix(".pub").read_text().strip()


def _guest(lab: Lab, apply: dict[str, object]) -> str:
    return GUEST.format(name=lab.name, state_dir=lab.state.parent) + _table(
        lab, "apply", {"stop": "force", "boot_timeout": "60s", **apply}
    )


def _table(lab: Lab, name: str, keys: dict[str, object]) -> str:
    # A string, a number and a truth are written as JSON writes them.
    lines = (f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
    return f"\n[guests.{lab.name}.{name}]\n{''.join(lines)}"
