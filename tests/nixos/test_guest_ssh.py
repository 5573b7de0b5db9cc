from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from nixvm_loop.guest.hostkeys import announced_key
from tests.nixos.guests import guest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.nixos.trees import Tree


class TestSsh:
    def test_the_key_comes_as_a_credential(self, tree: Tree, tmp_path: Path) -> None:
        """The server reads a file of this boot, which the unit fills from the credential before sshd starts."""
        found = guest(tree)
        unit = found["scripts"]["nixvm-loop-ssh-key"]
        assert found["sshd"]
        assert "/run/nixvm-loop/authorized_keys.d/%u" in found["keyFiles"]
        assert unit["serviceConfig"]["ImportCredential"] == "ssh.authorized_keys.root"
        (tmp_path / "ssh.authorized_keys.root").write_text("ssh-ed25519 KEY\n")
        self._run(unit["script"], tmp_path)
        key = tmp_path / "run/authorized_keys.d/root"
        assert (key.read_text(), key.stat().st_mode & 0o777) == ("ssh-ed25519 KEY\n", 0o600)

    def test_a_guest_without_a_key_says_so(self, tree: Tree, tmp_path: Path) -> None:
        """No credential is no failure, because keys of the guest's own may do; the journal has a line."""
        said = self._run(guest(tree)["scripts"]["nixvm-loop-ssh-key"]["script"], tmp_path)
        assert "handed over no key" in said
        assert not tmp_path.joinpath("run").exists()

    def test_the_host_keys_are_told(self, tree: Tree, tmp_path: Path) -> None:
        """The unit writes what nixvm-loop reads, before sshd starts, after a prompt that stands on the console."""
        unit = guest(tree)["scripts"]["nixvm-loop-host-keys"]
        assert "sshd-keygen.service" in unit["after"]
        if "ssh-keygen -q" not in unit["script"]:
            # Another unit of NixOS makes the keys.
            self._make_key(tmp_path)
        console = tmp_path / "console"
        console.write_text("demo login: ")
        self._run(unit["script"].replace("> /dev/ttyS0", f">> {console}"), tmp_path)
        kind, key = tmp_path.joinpath("ssh/ssh_host_ed25519_key.pub").read_text().split()[:2]
        assert [announced_key(line) for line in console.read_text().splitlines()] == [None, f"{kind} {key}"]

    @pytest.mark.parametrize(("when_needed", "server"), [(False, "sshd"), (True, "sshd@")])
    @pytest.mark.parametrize("announce", [False, True])
    def test_the_server_waits_for_both(self, tree: Tree, server: str, *, when_needed: bool, announce: bool) -> None:
        """Whether it always runs or starts with each connection, the key is there and the host keys are told before."""
        module = {"services": {"openssh": {"startWhenNeeded": when_needed}}}
        found = guest(tree, module, ssh={"announceHostKeys": announce})["servers"]
        assert list(found) == [server]
        ours = {"nixvm-loop-ssh-key.service", *(["nixvm-loop-host-keys.service"] if announce else [])}
        for relation in ("wants", "after"):
            assert {unit for unit in found[server][relation] if unit.startswith("nixvm-loop-")} == ours

    def test_the_keys_are_quick_to_make(self, tree: Tree) -> None:
        """Only an ed25519 key is made at a boot, unless the guest says which it wants."""
        assert guest(tree)["hostKeys"] == ["ed25519"]
        own = {"services": {"openssh": {"hostKeys": [{"type": "ecdsa", "path": "/etc/ssh/own"}]}}}
        assert guest(tree, own)["hostKeys"] == ["ecdsa"]

    @pytest.mark.parametrize("on", [False, True])
    def test_each_part_can_be_left_out(self, tree: Tree, on: bool) -> None:  # noqa: FBT001 (pytest's own)
        """`ssh.enable` and `ssh.announceHostKeys` switch the server with its units, and the announcement."""
        found = guest(tree, ssh={"enable": on})
        assert (found["sshd"], "nixvm-loop-ssh-key" in found["scripts"]) == (on, on)
        assert ("nixvm-loop-host-keys" in guest(tree, ssh={"announceHostKeys": on})["scripts"]) == on

    @pytest.mark.parametrize(
        ("server", "because"),
        [
            ({"enable": False}, "services.openssh.enable is off"),
            ({"settings": {"PermitRootLogin": "no"}}, 'PermitRootLogin is "no"'),
            ({"settings": {"PermitRootLogin": "forced-commands-only"}}, 'PermitRootLogin is "forced-commands-only"'),
            ({"settings": {"AllowUsers": ["ann", "bob@10.0.0.1"]}}, "AllowUsers does not name root"),
            ({"settings": {"DenyUsers": ["root"]}}, "DenyUsers names root"),
        ],
    )
    def test_a_root_that_cannot_log_in_is_warned_about(self, tree: Tree, server: dict[str, Any], because: str) -> None:
        """The checks need root."""
        [warning] = guest(tree, {"services": {"openssh": server}})["said"]["warnings"]
        assert because in warning
        assert "need root" in warning

    @pytest.mark.parametrize(
        "settings",
        [
            {"AllowUsers": ["ann", "root@10.0.2.*"], "DenyUsers": ["root@192.0.2.1", "bob"]},
            {"AllowUsers": ["r*"], "PermitRootLogin": "prohibit-password"},
        ],
    )
    def test_a_root_that_may_log_in_is_not(self, tree: Tree, settings: dict[str, Any]) -> None:
        """From some host, or by a pattern, is enough."""
        assert guest(tree, {"services": {"openssh": {"settings": settings}}})["said"]["warnings"] == []

    def test_without_a_server_there_are_no_units(self, tree: Tree) -> None:
        """Nothing waits for a server that is switched off."""
        assert guest(tree, {"services": {"openssh": {"enable": False}}})["scripts"] == {}

    @staticmethod
    def _make_key(folder: Path) -> None:
        folder.joinpath("ssh").mkdir()
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "ssh/ssh_host_ed25519_key"], check=True
        )

    @staticmethod
    def _run(script: str, folder: Path) -> str:
        """Runs a unit's script as systemd would, with its places in `folder`; what it said."""
        local = script.replace("/run/nixvm-loop", f"{folder}/run").replace("/etc/ssh", f"{folder}/ssh")
        done = subprocess.run(
            ["bash", "-euc", local],
            env={"PATH": os.environ["PATH"], "CREDENTIALS_DIRECTORY": str(folder)},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stderr
