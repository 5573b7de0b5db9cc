"""The read-only mount of the host's store: who makes it, who may use it, who removes it; and who does without."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.machines import VIEW, view_is_mounted, with_devices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.lab import Lab


@pytest.fixture
def user_lab(make_lab: Callable[..., Lab]) -> Iterator[Lab]:
    """The guest of a user who may not mount anything."""
    lab = make_lab(as_user=True)
    yield lab
    lab.loop("delete", "--yes")


@pytest.fixture
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """Root's."""
    return make_lab()


def test_the_view_lasts_as_long_as_somebody_uses_it(lab: Lab, user_lab: Lab) -> None:
    """A user's domain takes the one that root has mounted, silently, and it stays for it when root's goes."""
    assert lab.loop("create").returncode == 0
    if not view_is_mounted():
        pytest.skip("this host shares the store without a mount of its own")
    created = user_lab.loop("create")
    assert created.returncode == 0
    assert "does not enforce" not in created.stderr
    assert user_lab.virsh("dumpxml", user_lab.name, "--xpath", "//filesystem/source/@dir") == f'dir="{VIEW}"'
    assert lab.loop("delete", "--yes").returncode == 0
    assert view_is_mounted()
    assert user_lab.cycle()["verdict"] == "ok"
    assert "the host refuses writes too" in user_lab.loop("verify").stdout
    assert user_lab.loop("delete", "--yes").returncode == 0
    # Only root can unmount it, and does with the next domain of its own.
    assert view_is_mounted()


def test_root_removes_the_view_with_the_last_domain(lab: Lab) -> None:
    """Nothing is left where nobody uses it."""
    assert lab.loop("create").returncode == 0
    assert lab.loop("delete", "--yes").returncode == 0
    assert not view_is_mounted()
    assert not VIEW.exists()


def test_who_may_not_mount_is_told(user_lab: Lab) -> None:
    """Once, by `create`: the host does not keep root in the guest from writing to its store, and what would."""
    created = user_lab.loop("create")
    assert created.returncode == 0
    enforced = "<readonly/>" in user_lab.virsh("dumpxml", user_lab.name)
    assert ("the host does not enforce" in created.stderr) == (not enforced)
    assert ("mount -o bind,ro" in created.stderr) == (not enforced)


def test_a_disk_without_root(user_lab: Lab) -> None:
    """Libvirt may not give it away, for the kernel's sake: QEMU's user has to have been let in."""
    lab = with_devices(user_lab)
    said = lab.fails(5, command="create")
    assert "machine.disks[0]: QEMU's user" in said
    assert "setfacl" in said
    for name in ("data.qcow2", "plain.img"):
        (lab.folder / name).chmod(0o666)
    created = lab.loop("create", "--start")
    assert created.returncode == 0, created.stdout + created.stderr
    assert lab.guest("echo by the user >/dev/vdb; head -n 1 /dev/vdb") == "by the user"
    kernel = next(Path("/nix/store").glob("*-linux-mini/bzImage"))
    assert kernel.stat().st_uid == 0
