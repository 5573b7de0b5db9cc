"""What a domain's definition says, and what there is to know of a host before one is written."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from nixvm_loop.model.settings import SSH_PORT, Forward

QEMU_NAMESPACE: Final = "http://libvirt.org/schemas/domain/qemu/1.0"
OWNER_NAMESPACE: Final = "urn:nixvm-loop:domain:1"
BOOT_NAMESPACE: Final = "urn:nixvm-loop:boot:1"
LOOPBACK: Final = "127.0.0.1"
CREDENTIAL_PREFIX: Final = "io.systemd.credential:"
STORE_DIR: Final = "/nix/store"


class StoreMode(StrEnum):
    """Whether a domain of ours has the host's store, or is to do without as in production."""

    SHARED = "shared"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class HostStore:
    """How a domain of ours gets at the host's store.

    Attributes:
        folder: What is shared, and what kernel and initrd are read from: the store, or a mount of it.
        unchanging: Whether that is mounted read-only, so that not even libvirt can give its files another owner.
    """

    folder: str = STORE_DIR
    unchanging: bool = False

    def path(self, path: str) -> str:
        """A store path below that folder; any other path stays as it is."""
        inside = path.startswith(f"{STORE_DIR}/")
        return self.folder + path.removeprefix(STORE_DIR) if inside else path


@dataclass(frozen=True, slots=True)
class Share:
    """A folder of the host that the guest sees. `driver` is `virtiofs`, `path` (9p) or another of libvirt's names."""

    tag: str
    source: str | None
    driver: str
    queue: int | None
    readonly: bool


@dataclass(frozen=True, slots=True)
class Interface:
    """A network card; `network` is libvirt's, None when it is attached to something else."""

    kind: str
    mac: str | None
    network: str | None


@dataclass(frozen=True, slots=True)
class Owner:
    """The guest of nixvm-loop's that a domain was created for, and the guest's state directory."""

    guest: str
    state_dir: str
    store: StoreMode = StoreMode.SHARED


@dataclass(frozen=True, slots=True)
class DomainXml:
    """The facts of a definition.

    Attributes:
        kind: What runs it: `kvm`, `qemu` (emulation), `test`.
        kernel: The path as written, None when the domain boots from a disk or the network.
        loader: The firmware's path, None for libvirt's default.
        shared_memory: Whether the guest's memory can be shared with virtiofsd.
        on_reboot: What libvirt does when the guest reboots.
        forwards: TCP ports of the host that lead into the guest, as the XML tells.
        consoles: The types of the serial ports and consoles, in their order (`pty`, `file`).
        owner: None for a domain that is not nixvm-loop's.
    """

    name: str
    uuid: str | None
    kind: str
    kernel: str | None
    initrd: str | None
    cmdline: str | None
    loader: str | None
    shares: tuple[Share, ...]
    shared_memory: bool
    on_reboot: str
    interfaces: tuple[Interface, ...]
    forwards: tuple[Forward, ...]
    consoles: tuple[str, ...]
    oem_strings: tuple[str, ...]
    owner: Owner | None

    @property
    def boots_directly(self) -> bool:
        """Whether the domain's own `<kernel>` is what boots."""
        return self.kernel is not None

    @property
    def ssh_port(self) -> int | None:
        """The port of the host that leads to the guest's port 22, if the XML has one."""
        return next((forward.host_port for forward in self.forwards if forward.guest_port == SSH_PORT), None)

    def share(self, tag: str) -> Share | None:
        """The share that the guest mounts by `tag`."""
        return next((share for share in self.shares if share.tag == tag), None)


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What libvirt's host can do.

    Attributes:
        kvm: Whether KVM really works there.
        no_kvm_because: Why not, in words; empty when it works.
        passt: Whether libvirt takes the passt backend and the program is there.
        readonly_share: Whether libvirt can make virtiofsd refuse writes.
        rom: A firmware that starts a direct boot sooner than libvirt's default, if the host has one.
        qemu_uid: The user that QEMU runs as, None where libvirt does not say.
        qemu_gids: That user's groups.
        libvirt_version: The daemon's, as libvirt counts: 9.0.0 is 9000000.
        no_readonly_because: Why virtiofsd cannot be made to refuse writes, in words; empty when it can.
    """

    arch: str
    kvm: bool
    no_kvm_because: str
    passt: bool
    readonly_share: bool
    rom: str | None
    qemu_uid: int | None
    qemu_gids: tuple[int, ...]
    libvirt_version: int
    no_readonly_because: str = ""
