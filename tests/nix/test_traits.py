from __future__ import annotations

from typing import TYPE_CHECKING

from nixvm_loop.nix.traits import read_system, store_mounts

if TYPE_CHECKING:
    from pathlib import Path

# As NixOS writes it: nixpkgs nixos/modules/tasks/filesystems.nix.
FSTAB = """\
# This is a generated file.  Do not edit!
/dev/disk/by-label/root\\040disk / ext4 x-initrd.mount 0 1
nix-store-share /nix/.ro-store virtiofs x-initrd.mount,ro 0 0
overlay /nix/store overlay x-initrd.mount,lowerdir=/nix/.ro-store,upperdir=/nix/.rw-store/upper 0 0
tmpfs /nix/.rw-store tmpfs mode=0755,x-initrd.mount 0 0
tmpfs /nixos tmpfs defaults 0 0
"""


def test_the_mounts_of_the_store() -> None:
    """Those at /nix and below, in any order and with options in any order; not what only begins like it."""
    found = store_mounts(FSTAB)
    assert [entry[1] for entry in found] == ["/nix/.ro-store", "/nix/store", "/nix/.rw-store"]
    assert found[0] == ("nix-store-share", "/nix/.ro-store", "virtiofs", "ro,x-initrd.mount")
    shuffled = "\n".join(reversed(FSTAB.replace("x-initrd.mount,ro", "ro,x-initrd.mount").splitlines()))
    assert store_mounts(shuffled) == found
    assert store_mounts(FSTAB.replace("mode=0755", "mode=0700")) != found


def test_what_a_toplevel_tells(tmp_path: Path) -> None:
    """Links are followed, so that two systems with the same kernel agree; what is missing is no error."""
    (tmp_path / "linux/lib/modules/6.12.8").mkdir(parents=True)
    (tmp_path / "linux/bzImage").touch()
    (tmp_path / "initrd").touch()
    top = tmp_path / "system"
    (top / "bin").mkdir(parents=True)
    (top / "kernel").symlink_to(tmp_path / "linux/bzImage")
    (top / "kernel-modules").symlink_to(tmp_path / "linux")
    (top / "initrd").symlink_to(tmp_path / "initrd")
    (top / "init-interface-version").write_text("systemd 2\n")
    found = read_system(top, "quiet")
    assert found is not None
    assert (found.kernel, found.modules) == (tmp_path / "linux/bzImage", tmp_path / "linux")
    assert (found.release, found.init_interface, found.store_mounts) == ("6.12.8", "systemd 2", ())
    assert not found.switchable
    (top / "bin/switch-to-configuration").write_text("#!/bin/sh\n")
    (top / "bin/switch-to-configuration").chmod(0o555)
    again = read_system(top, "quiet")
    assert again is not None
    assert again.switchable


def test_a_system_that_is_gone(tmp_path: Path) -> None:
    """It tells nothing."""
    assert read_system(tmp_path / "gone", "") is None
