from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.nixos.guests import guest, initrd, settings
from tests.nixos.trees import GUEST_MODULE, TEMPLATE

if TYPE_CHECKING:
    from tests.nixos.trees import Tree

_OVERLAY_OFF: Final = ["index=off", "metacopy=off", "redirect_dir=off", "xino=off"]


def without_dependencies(options: list[str]) -> list[str]:
    """Mount options without those that NixOS adds to order mounts, which differ between its releases."""
    return sorted(option for option in options if not option.startswith(("x-systemd.requires-mounts-for", "x-initrd")))


@pytest.mark.parametrize("kind", ["scripted", "systemd"])
def test_the_store_is_an_overlay_of_share_and_tmpfs(tree: Tree, kind: str) -> None:
    """Root, share, writable layer and overlay are mounted as they should be, in both kinds of initrd."""
    found = guest(tree, initrd(kind))["fileSystems"]
    prefix = "/sysroot" if kind == "systemd" else ""
    assert {
        point: (fs["device"], fs["fsType"], without_dependencies(fs["options"])) for point, fs in found.items()
    } == {
        "/": ("tmpfs", "tmpfs", ["mode=0755"]),
        "/nix/.ro-store": ("nix-store-share", "virtiofs", ["ro", "x-systemd.after=systemd-modules-load.service"]),
        "/nix/.rw-store": ("tmpfs", "tmpfs", ["mode=0755"]),
        "/nix/store": (
            "overlay",
            "overlay",
            sorted(
                [
                    *_OVERLAY_OFF,
                    f"lowerdir={prefix}/nix/.ro-store",
                    f"upperdir={prefix}/nix/.rw-store/upper",
                    f"workdir={prefix}/nix/.rw-store/work",
                ]
            ),
        ),
    }
    assert {point for point, fs in found.items() if fs["neededForBoot"]} == set(found) - {"/"}
    assert found["/nix/.ro-store"]["noCheck"]


def test_the_initrd_has_what_the_mounts_need(tree: Tree) -> None:
    """The share's and the overlay's drivers are loaded before the mounts, the other virtio drivers when needed."""
    found = guest(tree)
    assert {"overlay", "virtio_pci", "virtiofs"} <= set(found["initrdModules"])
    available = {"virtio_blk", "virtio_console", "virtio_net", "virtio_rng", "virtio_scsi", "dmi_sysfs", "overlay"}
    assert available <= set(found["availableModules"])
    required = {"CONFIG_OVERLAY_FS=y", "CONFIG_VIRTIO_FS=y", "CONFIG_VIRTIO_PCI=y"}
    assert required <= set(found["requiredKernelConfig"])


def test_no_boot_loader_is_needed(tree: Tree) -> None:
    """The kernel is booted directly, so NixOS wants no boot loader; a guest that says otherwise has one."""
    assert guest(tree)["grub"] is False
    assert guest(tree, {"boot": {"loader": {"grub": {"enable": True, "device": "nodev"}}}})["grub"] is True


def test_names_and_places_are_free(tree: Tree) -> None:
    """Tag and places are taken from the options, so that they can match the config of nixvm-loop."""
    found = guest(tree, shareName="own", roStoreMount="/nix/.host", rwStoreMount="/var/own")["fileSystems"]
    assert set(found) == {"/", "/nix/.host", "/var/own", "/nix/store"}
    assert found["/nix/.host"]["device"] == "own"
    assert any(option.endswith("/var/own/upper") for option in found["/nix/store"]["options"])


@pytest.mark.parametrize("size", [None, "2G"])
def test_the_writable_layer_can_be_bounded(tree: Tree, size: str | None) -> None:
    """`rwStoreSize` is the tmpfs's size, and null says nothing."""
    options = guest(tree, rwStoreSize=size)["fileSystems"]["/nix/.rw-store"]["options"]
    assert [option for option in options if option.startswith("size=")] == ([] if size is None else ["size=2G"])


@pytest.mark.parametrize("on", [False, True])
def test_a_failed_boot_ends_the_guest_if_wanted(tree: Tree, on: bool) -> None:  # noqa: FBT001 (pytest's own)
    """`panicOnFailedBoot` makes a failed first stage panic, and a panic end the guest."""
    params = guest(tree, panicOnFailedBoot=on)["params"]
    assert ("boot.panic_on_fail" in params, "panic=-1" in params) == (on, on)


@pytest.mark.parametrize("console", [None, "ttyS0", "ttyAMA0", "ttyS0,115200n8"])
def test_the_console_is_a_serial_port(tree: Tree, console: str | None) -> None:
    """`console` is on the kernel's command line, and its device is where the host keys are told."""
    found = guest(tree, console=console)
    assert [param for param in found["params"] if param.startswith("console=")] == (
        [] if console is None else [f"console={console}"]
    )
    device = (console or "console").removesuffix(",115200n8")
    assert f"> /dev/{device}\n" in found["scripts"]["nixvm-loop-host-keys"]["script"]


@pytest.mark.parametrize("on", [False, True])
def test_the_store_is_remounted_read_only_if_wanted(tree: Tree, on: bool) -> None:  # noqa: FBT001 (pytest's own)
    """`readOnlyStore` leaves NixOS's remount alone, or does without, by whichever option the release has."""
    assert ("ro" in guest(tree, readOnlyStore=on)["storeOptions"]) == on


def test_a_disabled_module_changes_nothing(tree: Tree) -> None:
    """Without `enable`, file systems, modules and parameters are those of a guest without the module."""
    base: dict[str, Any] = {"boot": {"loader": {"grub": {"enable": False}}}}
    off = tree.evaluate("guest", GUEST_MODULE, {**base, **settings(enable=False)})
    assert off == tree.evaluate("guest", base)


def test_the_users_root_is_kept(tree: Tree) -> None:
    """A guest that was installed on a disk keeps it: the tmpfs is only for one that says nothing."""
    disk = {"device": "/dev/vda", "fsType": "ext4"}
    found = guest(tree, {"fileSystems": {"/": disk}})["fileSystems"]["/"]
    assert (found["device"], found["fsType"], "mode=0755" in found["options"]) == ("/dev/vda", "ext4", False)


@pytest.mark.parametrize("added", [{"options": ["size=1G"]}, {"neededForBoot": True}])
def test_what_is_added_to_the_root_keeps_the_tmpfs(tree: Tree, added: dict[str, Any]) -> None:
    """A definition that says neither device nor type is about this module's root."""
    found = guest(tree, {"fileSystems": {"/": added}})["fileSystems"]["/"]
    assert (found["device"], found["fsType"]) == ("tmpfs", "tmpfs")
    assert {"mode=0755", *added.get("options", ())} <= set(found["options"])


def test_options_of_the_mount_may_be_added(tree: Tree) -> None:
    """A definition that only adds options to the overlay is no second mount."""
    found = guest(tree, {"fileSystems": {"/nix/store": {"options": ["volatile"]}}})["fileSystems"]["/nix/store"]
    assert {"volatile", "index=off"} <= set(found["options"])


def test_only_the_needed_options_need_exist(tree: Tree) -> None:
    """The module evaluates without the rest of NixOS."""
    assert tree.bare("guest") == {
        "failed": [],
        "mounts": ["/", "/nix/.ro-store", "/nix/.rw-store", "/nix/store"],
        "onShutdown": None,
    }


@pytest.mark.parametrize("kind", ["scripted", "systemd"])
def test_the_templates_guest_is_a_whole_system(tree: Tree, kind: str) -> None:
    """All units, all files below /etc and all assertions of NixOS evaluate, and nothing is warned about."""
    modules = (GUEST_MODULE, str(TEMPLATE / "guest.nix"), initrd(kind))
    texts = tree.evaluate("texts", *modules)
    assert texts["said"] == {"failed": [], "warnings": []}
    assert "nixvm-loop-host-keys.service" in texts["units"]
    assert ("rw-sysroot-nix-store.service" in texts["initrd"]) == (kind == "systemd")
