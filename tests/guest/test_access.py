from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from nixvm_loop.guest import Access, ssh_argv
from nixvm_loop.model.settings import HostKeyPolicy
from nixvm_loop.model.values import SshTarget

needs_ssh = pytest.mark.skipif(shutil.which("ssh") is None, reason="OpenSSH's client is not installed")


def access(folder: Path, policy: HostKeyPolicy = HostKeyPolicy.AUTO, proxy: tuple[str, ...] = ()) -> Access:
    """A guest on a forwarded port."""
    return Access("demo", SshTarget("127.0.0.1", 2222), "root", folder / "key", policy, proxy)


def understood(argv: tuple[str, ...]) -> dict[str, str]:
    """What `ssh` itself makes of a command line, without connecting."""
    done = subprocess.run([argv[0], "-G", *argv[1:]], check=True, capture_output=True, text=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


@needs_ssh
@pytest.mark.parametrize("folder", ["/state/ssh", "/with blank/100%h/quo'te"])
def test_ssh_understands_the_options(folder: str) -> None:
    """Keys, names and files arrive as meant, blanks and percent signs included."""
    options = understood(ssh_argv(access(Path(folder)), Path(folder) / "known_hosts"))
    assert options["stricthostkeychecking"] == "true"
    assert options["hostkeyalias"] == "demo"
    assert (options["user"], options["hostname"], options["port"]) == ("root", "127.0.0.1", "2222")
    assert options["userknownhostsfile"].replace("%%", "%") == f"{folder}/known_hosts"
    assert options["identityfile"].replace("%%", "%") == f"{folder}/key"
    assert options["identitiesonly"] == "yes"


@needs_ssh
def test_without_check_no_file_is_used() -> None:
    """`off` accepts any key and keeps none."""
    options = understood(ssh_argv(access(Path("/s"), HostKeyPolicy.OFF), Path("/s/known_hosts")))
    assert options["stricthostkeychecking"] == "false"
    assert options["userknownhostsfile"] == "/dev/null"


@needs_ssh
def test_a_proxy_command_is_quoted() -> None:
    """Its words stay words for the shell that ssh starts, and percent signs stay percent signs."""
    options = understood(ssh_argv(access(Path("/s"), proxy=("nc", "-X", "a b%h; rm x")), Path("/s/known_hosts")))
    assert options["proxycommand"] == "nc -X 'a b%%h; rm x'"


def test_the_command_comes_last_and_untouched() -> None:
    """Words after the host go to the guest's shell as ssh does it; a host cannot become an option."""
    argv = ssh_argv(access(Path("/s")), Path("/s/known_hosts"), ("ls", "-l; id"))
    assert argv[-4:] == ("--", "127.0.0.1", "ls", "-l; id")


def test_an_ipv6_address_is_written_with_brackets() -> None:
    """So that the port can be told from it."""
    assert Access("demo", SshTarget("::1", 22), "root", Path("/k")).address == "[::1]:22"
