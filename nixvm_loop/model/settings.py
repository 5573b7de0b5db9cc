"""The settings that a configuration file gives, checked and complete: no default is decided elsewhere."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003  # read at run time by dataclass tools
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path  # noqa: TC003  # as above
from typing import Final

SSH_PORT: Final = 22


class OnChange(StrEnum):
    """What a save does to a build that is under way."""

    CANCEL = "cancel"
    FINISH = "finish"


class ApplyMode(StrEnum):
    """How a new system reaches the guest."""

    RESTART = "restart"
    AUTO = "auto"
    SWITCH = "switch"


class StopPolicy(StrEnum):
    """How a running domain is stopped: asked and then forced, or forced at once."""

    GRACEFUL = "graceful"
    FORCE = "force"


class Accelerator(StrEnum):
    """What runs the guest's processors; `AUTO` takes KVM only where it really works."""

    AUTO = "auto"
    KVM = "kvm"
    TCG = "tcg"


class HostKeyPolicy(StrEnum):
    """How the guest proves who it is: its own console, known_hosts only, or not at all."""

    AUTO = "auto"
    PINNED = "pinned"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """What `watch` looks at beside the flake, and how patient it is."""

    paths: tuple[Path, ...] = ()
    ignore: tuple[str, ...] = ()
    quiet_s: float = 0.04
    on_change: OnChange = OnChange.CANCEL


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """What is added to the `nix build` call."""

    options: tuple[str, ...] = ()
    override_inputs: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class ApplySettings:
    """How a built system is put to work."""

    mode: ApplyMode = ApplyMode.RESTART
    stop: StopPolicy = StopPolicy.GRACEFUL
    stop_timeout_s: float = 10.0
    boot_timeout_s: float = 120.0
    switch_timeout_s: float = 120.0
    rollback: bool = True
    kernel_params: tuple[str, ...] = ("console=ttyS0",)


@dataclass(frozen=True, slots=True)
class Forward:
    """A TCP port of the guest that 127.0.0.1 answers for."""

    host_port: int
    guest_port: int


class DiskFormat(StrEnum):
    """How a disk's content is laid out."""

    RAW = "raw"
    QCOW2 = "qcow2"


@dataclass(frozen=True, slots=True)
class Disk:
    """A file or block device of the host that the guest has as a disk.

    Attributes:
        format: None goes by the name (`.qcow2` is qcow2, all else raw), never by the content, which is the guest's.
    """

    path: Path
    format: DiskFormat | None = None
    readonly: bool = False

    @property
    def layout(self) -> DiskFormat:
        """The format that it is opened with."""
        named = DiskFormat.QCOW2 if self.path.suffix == ".qcow2" else DiskFormat.RAW
        return self.format or named

    @property
    def is_device(self) -> bool:
        """Whether it is a block device, by its place: what is a disk must not hang on what is there just now."""
        return self.path.is_relative_to("/dev") and not self.path.is_relative_to("/dev/shm")  # noqa: S108  # no file is made


@dataclass(frozen=True, slots=True)
class FolderShare:
    """A folder of the host that the guest can mount by its tag, beside the store."""

    tag: str
    source: Path
    readonly: bool = False


@dataclass(frozen=True, slots=True)
class MachineSettings:
    """The domain that nixvm-loop defines and owns.

    Attributes:
        ssh_port: What 127.0.0.1 answers on for the guest's sshd, as long as there are no `networks`; so with `forward`.
        networks: Libvirt's networks, a card in each; without any, the guest has a network of its own behind the host's.
    """

    memory_bytes: int = 2 * 2**30
    vcpus: int = 2
    accelerator: Accelerator = Accelerator.AUTO
    ssh_port: int = 2222
    forward: tuple[Forward, ...] = ()
    queue: int = 1024
    networks: tuple[str, ...] = ()
    disks: tuple[Disk, ...] = ()
    shares: tuple[FolderShare, ...] = ()

    @property
    def forwards(self) -> tuple[Forward, ...]:
        """The ports of 127.0.0.1 that lead into the guest; none where it has an address of its own."""
        return () if self.networks else (Forward(self.ssh_port, SSH_PORT), *self.forward)


@dataclass(frozen=True, slots=True)
class SshSettings:
    """How the guest is reached.

    Attributes:
        host: An address, or `auto`: 127.0.0.1 where the domain forwards a port to 22, else libvirt's leases.
        port: None stands for the forwarded port, or 22 where none is.
        key: None stands for the key that `create` makes in the state directory.
        proxy_command: An argv whose standard input and output lead to the guest's sshd.
    """

    host: str = "auto"
    port: int | None = None
    user: str = "root"
    key: Path | None = None
    host_key: HostKeyPolicy = HostKeyPolicy.AUTO
    proxy_command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """The share and its mounts in the guest, and when the writable layer counts as nearly full (part of one)."""

    share: str = "nix-store-share"
    mount_point: str = "/nix/store"
    ro_store: str = "/nix/.ro-store"
    rw_store: str = "/nix/.rw-store"
    warn_at: float = 0.8


@dataclass(frozen=True, slots=True)
class CheckSettings:
    """A check of the user's (a shell command line for the guest), or, without a command, a word on a built-in one."""

    name: str
    command: str | None = None
    timeout_s: float = 10.0
    required: bool = False


@dataclass(frozen=True, slots=True)
class GuestSettings:
    """One configured guest.

    Attributes:
        flake: The flake reference as given to Nix; a local path is absolute.
        flake_dir: The local folder of the flake, None for a remote one.
        attribute: The configuration's attribute path; its `.config.system.build.toplevel` is built.
        state_dir: The guest's own folder, below the configured `state_dir`.
        machine: None when the domain is the user's own.
    """

    name: str
    flake: str
    flake_dir: Path | None
    attribute: str
    domain: str
    libvirt_uri: str
    state_dir: Path
    keep: int = 10
    watch: WatchSettings = WatchSettings()
    build: BuildSettings = BuildSettings()
    apply: ApplySettings = ApplySettings()
    machine: MachineSettings | None = None
    ssh: SshSettings = SshSettings()
    store: StoreSettings = StoreSettings()
    checks: tuple[CheckSettings, ...] = ()

    @property
    def on_this_host(self) -> bool:
        """Whether libvirt is this machine's own."""
        return "+" not in self.libvirt_uri.partition(":")[0] and self.libvirt_uri.partition("://")[2].startswith("/")


@dataclass(frozen=True, slots=True)
class Settings:
    """A whole configuration file."""

    file: Path
    guests: Mapping[str, GuestSettings]
