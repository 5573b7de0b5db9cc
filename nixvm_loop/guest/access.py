"""Where a guest is reached and as whom, and the same for OpenSSH's `ssh`."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nixvm_loop.model.settings import HostKeyPolicy

if TYPE_CHECKING:
    from pathlib import Path

    from nixvm_loop.model.values import SshTarget


@dataclass(frozen=True, slots=True)
class Access:
    """How the guest's sshd is reached.

    Attributes:
        name: The guest's name: in messages, and in known_hosts in place of an address.
        key: The private key's file.
        proxy_command: An argv whose standard input and output lead to the sshd; () for a plain connection.
    """

    name: str
    target: SshTarget
    user: str
    key: Path
    host_key: HostKeyPolicy = HostKeyPolicy.AUTO
    proxy_command: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        """Host and port as people write them."""
        host = f"[{self.target.host}]" if ":" in self.target.host else self.target.host
        return f"{host}:{self.target.port}"


def ssh_argv(access: Access, known_hosts: Path, command: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The `ssh` command line that reaches the guest under the same rules; the user's own ssh config is not read."""
    checked = access.host_key is not HostKeyPolicy.OFF
    options = [
        f"StrictHostKeyChecking={'yes' if checked else 'no'}",
        f"UserKnownHostsFile={_option(str(known_hosts)) if checked else '/dev/null'}",
        "GlobalKnownHostsFile=/dev/null",
        f"HostKeyAlias={access.name}",
        "IdentitiesOnly=yes",
        f"IdentityFile={_option(str(access.key))}",
        *(() if checked else ("LogLevel=ERROR",)),
    ]
    if access.proxy_command:
        options.append(f"ProxyCommand={shlex.join(access.proxy_command).replace('%', '%%')}")
    return (
        "ssh",
        "-F",
        "none",
        *(word for option in options for word in ("-o", option)),
        "-p",
        str(access.target.port),
        "-l",
        access.user,
        "--",
        access.target.host,
        *command,
    )


def _option(path: str) -> str:
    # ssh splits values at blanks and expands %-tokens in them.
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'
