from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.nixos.guests import forced
from tests.nixos.trees import GUEST_MODULE, HOST_MODULE, TEMPLATE

if TYPE_CHECKING:
    from tests.nixos.trees import Tree

# What each NixOS has to say, whatever it is for.
_MACHINE: Final = {
    "boot": {"loader": {"grub": {"enable": False}}},
    # Named by strings, which the stand-in for the packages does not see.
    "environment": {"defaultPackages": forced([])},
    "fileSystems": {"/": {"device": "/dev/vda", "fsType": "ext4"}},
    "users": {"users": {"ann": {"isNormalUser": True}}},
}


def settings(**values: Any) -> dict[str, Any]:
    return {"keystone": {"virtualization": {"host": {"virtiofs": {"enable": True, **values}}}}}


def host(tree: Tree, *modules: str | dict[str, Any], **values: Any) -> Any:
    """The host with the module's options `values`; all assertions of NixOS hold."""
    found = tree.evaluate("host", HOST_MODULE, _MACHINE, settings(**values), *modules)
    assert found["said"]["failed"] == []
    return found


def test_libvirt_runs_and_finds_virtiofsd(tree: Tree) -> None:
    """The daemon is on, with virtiofsd, and a shutdown of the host does not try to save guests."""
    found = host(tree)
    assert found["enable"] is True
    assert [name.partition("-")[0] for name in found["virtiofsd"]] == ["virtiofsd"]
    assert (found["onShutdown"], found["environment"]) == ("shutdown", "shutdown")


def test_passt_is_found(tree: Tree) -> None:
    """Libvirt's system daemon and a user's own find it; without `enable` nothing is added."""
    found = host(tree)
    assert "passt" in found["daemonPath"]
    assert "passt" in found["installed"]
    assert "passt" not in tree.evaluate("host", HOST_MODULE, _MACHINE, settings(enable=False))["installed"]


def test_users_may_use_libvirt(tree: Tree) -> None:
    """`users` are members of libvirt's group; nobody is by default."""
    assert host(tree)["members"] == []
    assert host(tree, users=["ann"])["members"] == ["ann"]


def test_guests_cannot_be_suspended(tree: Tree) -> None:
    """A host that wants it is told that it fails."""
    suspend = {"virtualisation": {"libvirtd": {"onShutdown": "suspend"}}}
    [message] = tree.evaluate("said", HOST_MODULE, _MACHINE, settings(), suspend)["failed"]
    assert 'Set it to "shutdown"' in message


class TestWatch:
    _PROJECT: Final = {"config": "/home/ann/100% mine/$x/nixvm-loop.toml", "guest": "demo", "user": "ann"}

    def test_a_project_has_a_user_service(self, tree: Tree) -> None:
        """The unit runs `watch` for the project's file, guest and user; in paths each character is itself."""
        unit = host(tree, watch={"projects": {"demo": self._PROJECT}})["units"]["nixvm-loop-watch-demo.service"]
        [command] = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
        assert command.endswith(
            '/bin/nixvm-loop" "watch" "--output" "plain"'
            ' "--config" "/home/ann/100%% mine/$$x/nixvm-loop.toml" "--guest" "demo"'
        )
        assert "ConditionUser=ann\n" in unit
        assert "ConditionPathExists=/home/ann/100%% mine/$x/nixvm-loop.toml\n" in unit
        assert "KillSignal=SIGINT\n" in unit
        assert "SuccessExitStatus=130\n" in unit
        assert "WantedBy=default.target" in unit

    def test_guest_and_user_may_be_left_out(self, tree: Tree) -> None:
        """Without them, the project's only guest is watched, by whoever may use libvirt."""
        unit = host(tree, watch={"projects": {"demo": {"config": "/srv/demo.toml"}}})["units"][
            "nixvm-loop-watch-demo.service"
        ]
        assert "--guest" not in unit
        assert "ConditionGroup=libvirtd\n" in unit

    def test_there_is_none_by_default(self, tree: Tree) -> None:
        """No project, no service."""
        assert host(tree)["units"] == {}

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ({"package": None, "watch": {"projects": {"demo": _PROJECT}}}, "package is null"),
            ({"watch": {"projects": {"a b": _PROJECT}}}, "names of services"),
        ],
    )
    def test_what_cannot_run_is_said(self, tree: Tree, values: dict[str, Any], expected: str) -> None:
        """A service without its program, or with a name that systemd would not take, fails the evaluation."""
        [message] = tree.evaluate("said", HOST_MODULE, _MACHINE, settings(**values))["failed"]
        assert expected in message


def test_a_disabled_module_changes_nothing(tree: Tree) -> None:
    """Without `enable`, no libvirt and no services."""
    assert tree.evaluate("host", HOST_MODULE, _MACHINE, settings(enable=False))["enable"] is False


def test_only_the_needed_options_need_exist(tree: Tree) -> None:
    """The module evaluates without the rest of NixOS."""
    assert tree.bare("host") == {"failed": [], "mounts": [], "onShutdown": "shutdown"}


def test_the_templates_host_is_a_whole_system(tree: Tree) -> None:
    """All units, all files below /etc and all assertions of NixOS evaluate, with guest and host module side by side."""
    texts = tree.evaluate("texts", HOST_MODULE, GUEST_MODULE, str(TEMPLATE / "host.nix"), _MACHINE)
    assert texts["said"] == {"failed": [], "warnings": []}
    assert "libvirtd.service" in texts["units"]
