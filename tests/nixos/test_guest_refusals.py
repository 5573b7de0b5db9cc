from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.nixos.guests import failed, forced, guest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.nixos.trees import Tree


_LAYER: Final = {"device": "/dev/vdb", "fsType": "ext4", "neededForBoot": True}


class TestPersistentLayer:
    def test_it_is_the_users_file_system(self, tree: Tree) -> None:
        """With `persistentRwStore` the layer is what the user declared, and nothing is added to it."""
        found = guest(tree, {"fileSystems": {"/nix/.rw-store": _LAYER}}, persistentRwStore=True)["fileSystems"]
        layer = found["/nix/.rw-store"]
        assert (layer["device"], layer["fsType"], "mode=0755" in layer["options"]) == ("/dev/vdb", "ext4", False)

    def test_it_has_to_be_declared(self, tree: Tree) -> None:
        """Without it the overlay could not be mounted: the message says what to declare."""
        [message] = failed(tree, persistentRwStore=True)
        assert 'Declare fileSystems."/nix/.rw-store" with neededForBoot = true' in message

    def test_it_has_to_be_there_in_the_initrd(self, tree: Tree) -> None:
        """A layer that the second stage mounts comes too late."""
        late = {"fileSystems": {"/nix/.rw-store": {**_LAYER, "neededForBoot": False}}}
        [message] = failed(tree, late, persistentRwStore=True)
        assert "needs neededForBoot = true" in message

    def test_it_has_its_own_size(self, tree: Tree) -> None:
        """A size for a tmpfs that is not there would be ignored in silence."""
        layer = {"fileSystems": {"/nix/.rw-store": _LAYER}}
        [message] = failed(tree, layer, persistentRwStore=True, rwStoreSize="1G")
        assert "rwStoreSize is for a tmpfs" in message

    @pytest.mark.parametrize("kind", ["virtiofs", "9p", "nfs", "overlay", "vfat"])
    def test_it_has_to_be_able_to_be_one(self, tree: Tree, kind: str) -> None:
        """The kernel takes no such file system as an overlay's upper layer."""
        layer = {"fileSystems": {"/nix/.rw-store": {**_LAYER, "fsType": kind}}}
        [message] = failed(tree, layer, persistentRwStore=True)
        assert f'fileSystems."/nix/.rw-store" is {kind}, which cannot be' in message

    def test_it_has_to_be_switched_on(self, tree: Tree, tmp_path: Path) -> None:
        """A layer that is declared without the option is no conflict of values: the message names file and option."""
        file = tmp_path / "layer.nix"
        file.write_text(
            '{ fileSystems."/nix/.rw-store" = { device = "/dev/vdb"; fsType = "ext4"; neededForBoot = true; }; }'
        )
        [message] = failed(tree, str(file))
        assert f"is declared in {file}" in message
        assert "Turn persistentRwStore on" in message

    def test_options_may_be_added_to_the_tmpfs(self, tree: Tree) -> None:
        """A definition that only adds options declares no layer."""
        added = {"fileSystems": {"/nix/.rw-store": {"options": ["huge=advise"]}}}
        assert {"mode=0755", "huge=advise"} <= set(guest(tree, added)["fileSystems"]["/nix/.rw-store"]["options"])


class TestInitrdPrefix:
    def test_it_is_taken_off_and_warned_about(self, tree: Tree) -> None:
        """A leading /sysroot gives the guest that the path without it gives, and a warning for each."""
        paths = {"roStoreMount": "/sysroot/nix/.ro-store", "rwStoreMount": "/sysroot/nix/.rw-store"}
        found = guest(tree, **paths)
        assert found["fileSystems"] == guest(tree)["fileSystems"]
        warnings = found["said"]["warnings"]
        assert [re.findall(r"Write (\S+)\.", warning) for warning in warnings] == [
            ["/nix/.ro-store"],
            ["/nix/.rw-store"],
        ]

    def test_a_file_system_below_it_is_refused(self, tree: Tree) -> None:
        """What the user declared below /sysroot would be mounted below /sysroot/sysroot."""
        own = {"fileSystems": {"/sysroot/nix/.rw-store": _LAYER}}
        messages = failed(tree, own, persistentRwStore=True, rwStoreMount="/sysroot/nix/.rw-store")
        assert any("Declare it as /nix/.rw-store" in message for message in messages)


@pytest.mark.parametrize(
    ("values", "module", "expected"),
    [
        pytest.param({"shareName": "a b"}, {}, "a virtiofs tag has", id="tag-with-space"),
        pytest.param({"shareName": "x" * 37}, {}, "a virtiofs tag has", id="tag-too-long"),
        pytest.param({"rwStoreMount": "/nix/.ro-store/own"}, {}, "one within the other", id="layers-nested"),
        pytest.param({"roStoreMount": "/nix/store/host"}, {}, "must not lie below mountPoint", id="below-overlay"),
        pytest.param(
            {"mountPoint": "/guest/store"}, {}, "`init=` names a path below /nix/store", id="other-mount-point"
        ),
        pytest.param({}, {"nix": {"gc": {"automatic": True}}}, "nix.gc.automatic", id="gc"),
        pytest.param(
            {}, {"programs": {"nh": {"enable": True, "clean": {"enable": True}}}}, "programs.nh.clean.enable", id="nh"
        ),
        pytest.param({}, {"nix": {"settings": {"min-free": 1000}}}, "nix.gc.automatic", id="min-free"),
        pytest.param({}, {"nix": {"settings": {"auto-optimise-store": True}}}, "hard links", id="auto-optimise"),
        pytest.param({}, {"nix": {"optimise": {"automatic": True}}}, "hard links", id="optimise"),
        pytest.param({}, {"boot": {"kernelParams": ["init=/bin/sh"]}}, "exactly one", id="second-init"),
        pytest.param({}, {"boot": {"blacklistedKernelModules": ["overlay"]}}, "module `overlay`", id="overlay-banned"),
        pytest.param(
            {}, {"boot": {"blacklistedKernelModules": ["virtiofs"]}}, "module `virtiofs`", id="virtiofs-banned"
        ),
        pytest.param(
            {},
            {"boot": {"initrd": {"kernelModules": forced(["virtiofs"]), "availableKernelModules": forced([])}}},
            "module `overlay`",
            id="overlay-forced-out",
        ),
        pytest.param(
            {},
            {"fileSystems": {"/nix/store": {"device": "/dev/vdc", "fsType": "ext4"}}},
            "mounted by another module as well",
            id="store-mounted-twice",
        ),
        pytest.param(
            {},
            {"fileSystems": {"own": {"mountPoint": "/nix/store", "device": "/dev/vdc", "fsType": "ext4"}}},
            '/nix/store is mounted by fileSystems."own" as well',
            id="store-mounted-by-another-name",
        ),
        pytest.param(
            {},
            {"systemd": {"mounts": [{"what": "/dev/vdc", "where": "/nix/store"}]}},
            "/nix/store is mounted by systemd.mounts as well",
            id="store-mounted-by-a-unit",
        ),
        pytest.param(
            {},
            {"fileSystems": {"/nix/store": forced({"device": "/dev/vdc", "fsType": "ext4"})}},
            "mounted by another module as well",
            id="store-mounted-by-force",
        ),
        pytest.param(
            {}, {"fileSystems": forced({"/": {"device": "/dev/vda"}})}, "with a higher priority", id="all-replaced"
        ),
    ],
)
def test_what_would_break_is_said(tree: Tree, values: dict[str, Any], module: dict[str, Any], expected: str) -> None:
    """Each thing that would keep the guest from booting, or harm its store, has one message that names it."""
    [message] = failed(tree, module, **values)
    assert expected in message


def test_another_modules_store_is_named(tree: Tree) -> None:
    """NixOS's own module for test machines mounts a store of its own: the message says which file does."""
    [message] = failed(tree, tree.module("virtualisation/qemu-vm.nix"))
    assert "qemu-vm.nix" in message
