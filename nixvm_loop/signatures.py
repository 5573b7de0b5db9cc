"""Log patterns as data: what a line of a log means, and what to do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Source(StrEnum):
    """Whose words a pattern is for."""

    CONSOLE = "console"
    NIX = "nix"
    LIBVIRT = "libvirt"
    QEMU = "qemu"


@dataclass(frozen=True, slots=True)
class Signature:
    """A pattern and its meaning.

    Attributes:
        pattern: Searched for anywhere in a line, or in a whole message of libvirt's.
        cause: What it means, without a full stop; `{name}` stands for the pattern's group of that name.
        fix: What to do, likewise.
    """

    id: str
    source: Source
    pattern: re.Pattern[str]
    cause: str
    fix: str


@dataclass(frozen=True, slots=True)
class Found:
    """A signature that a line matched, with its words filled in."""

    signature: Signature
    cause: str
    fix: str
    groups: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The signature's id."""
        return self.signature.id


def _signature(name: str, source: Source, pattern: str, cause: str, fix: str) -> Signature:
    return Signature(name, source, re.compile(pattern, re.DOTALL), cause, fix)


_CONSOLE: Final = (
    _signature(
        "no-virtiofs",
        Source.CONSOLE,
        r"unknown filesystem type '?virtiofs|mounting \S+ on \S+ failed: No such device",
        "its kernel or initrd has no virtiofs",
        'add "virtiofs" and "virtio_pci" to boot.initrd.availableKernelModules',
    ),
    _signature(
        "no-share",
        Source.CONSOLE,
        r"virtio-?fs: tag <(?P<tag>[^>]*)> not found",
        "it mounts the share {tag}, which the domain does not have",
        "give store.share, the guest's mount and the domain's <target dir> the same name",
    ),
    _signature(
        "no-init",
        Source.CONSOLE,
        r"(?:Requested init|stage 2 init script|Failed to execute) (?P<path>/nix/store/\S+?)\S* "
        r"(?:failed \(error|\()?(?:not found|-2)",
        "its system {path} was not found on the share",
        "check that the guest mounts the shared store at /nix/store before stage 2",
    ),
    _signature(
        "kernel-panic",
        Source.CONSOLE,
        r"Kernel panic - not syncing: (?P<reason>[^\r\n]*)",
        "its kernel panicked: {reason}",
        "the console's last lines say what came before",
    ),
    _signature(
        "emergency-mode",
        Source.CONSOLE,
        r"You are in emergency mode|Cannot open access to console, the root account is locked",
        "systemd stopped in emergency mode",
        "the console's last lines name the unit that failed; `nixvm-loop console` leads to its prompt",
    ),
)

_LIBVIRT: Final = (
    _signature(
        "libvirt-not-running",
        Source.LIBVIRT,
        r"Failed to connect socket to '(?P<socket>[^']*)': (?:No such file or directory|Connection refused)",
        "libvirt's daemon is not running (nothing answers at {socket})",
        "start it: `systemctl start libvirtd` (or virtqemud.socket), NixOS: virtualisation.libvirtd.enable = true;"
        " or check libvirt_uri",
    ),
    _signature(
        "libvirt-permission",
        Source.LIBVIRT,
        r"Failed to connect socket to '(?P<socket>[^']*)': Permission denied",
        "you may not use libvirt's socket {socket}",
        "become a member of group libvirt (NixOS: libvirtd) and log in anew: `sudo usermod -aG libvirt $USER`",
    ),
    _signature(
        "libvirt-authentication",
        Source.LIBVIRT,
        r"authentication (?:unavailable|failed|cancelled)|no polkit agent|access denied",
        "libvirt refused you",
        "become a member of group libvirt (NixOS: libvirtd) and log in anew: `sudo usermod -aG libvirt $USER`",
    ),
    _signature(
        "libvirt-uri",
        Source.LIBVIRT,
        r"unexpected qemu URI path|no connection driver available for (?P<uri>\S+)|[Cc]annot parse URI",
        "libvirt has no driver for this URI",
        'check libvirt_uri; the default is "qemu:///system"',
    ),
    _signature(
        "port-in-use",
        Source.LIBVIRT,
        r"Could not set up host forwarding rule '?tcp:(?P<address>[^:]*):(?P<port>\d+)-",
        "port {port} of {address} is already in use",
        "set machine.ssh_port (or machine.forward) to a free port; `ss -ltnp 'sport = :{port}'` shows who has it",
    ),
    _signature(
        "port-in-use-passt",
        Source.LIBVIRT,
        r"(?P<words>Failed to bind[^\r\n]*)|passt.*Address already in use",
        "passt could not listen on a forwarded port {words}",
        "set machine.ssh_port (or machine.forward) to a free port; `ss -ltnp` shows which are taken",
    ),
    _signature(
        "network-inactive",
        Source.LIBVIRT,
        r"network '(?P<network>[^']*)' is not active",
        "libvirt's network {network} is not active",
        "`virsh net-start {network}`; `virsh net-autostart {network}` does it at every start of the host",
    ),
    _signature(
        "no-network",
        Source.LIBVIRT,
        r"no network with matching name '(?P<network>[^']*)'",
        "libvirt has no network {network}",
        "`virsh net-list --all` shows those that it has; correct the domain's <interface>",
    ),
    _signature(
        "queue-too-large",
        Source.LIBVIRT,
        r'"queue-size":(?P<queue>\d+).*queue-size property must be (?P<rule>[^\r\n]*)',
        "QEMU refuses the share's queue of {queue}: it must be {rule}",
        "set machine.queue (or <driver queue='…'/> of your own domain) to 1024",
    ),
    _signature(
        "no-virtiofsd",
        Source.LIBVIRT,
        r"virtiofsd binary '(?P<path>[^']*)' is not executable"
        r"|[Uu]nable to find a satisfying virtiofsd|virtiofsd was not found",
        "virtiofsd is not installed where libvirt looks for it",
        "install virtiofsd (Debian 12: qemu-system-common; NixOS: virtualisation.libvirtd.qemu.vhostUserPackages ="
        " [ pkgs.virtiofsd ])",
    ),
    _signature(
        "no-share-folder",
        Source.LIBVIRT,
        r"virtiofs export directory '(?P<path>[^']*)' does not exist",
        "the shared folder {path} does not exist on libvirt's host",
        "is Nix installed there? libvirt shares its own host's {path}",
    ),
    _signature(
        "virtiofsd-failed",
        Source.LIBVIRT,
        r"-fs\d*\.sock': Connection refused|virtiofsd died unexpectedly",
        "virtiofsd ended at its start",
        "its log says why: /var/log/libvirt/qemu/DOMAIN-fs0-virtiofsd.log (root's); can root read /nix/store there?",
    ),
    _signature(
        "no-shared-memory",
        Source.LIBVIRT,
        r"'?virtiofs'? requires (?:shared memory|one or more NUMA nodes)",
        "virtiofs needs memory that can be shared",
        "add <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking> to the domain",
    ),
    _signature(
        "boot-file-forbidden",
        Source.LIBVIRT,
        r"(?:could not open kernel file|error reading initrd) '?(?P<path>[^':]+)'?:.*Permission denied",
        "QEMU's user may not read {path}",
        "every folder on the way must be open to it (`chmod o+x`), or move state_dir out of your home",
    ),
    _signature(
        "no-boot-file",
        Source.LIBVIRT,
        r"(?:could not open kernel file|error reading initrd) '?(?P<path>[^':]+)'?:.*No such file",
        "{path} does not exist",
        "`nixvm-loop rebuild` makes it",
    ),
    _signature(
        "no-room-for-initrd",
        Source.LIBVIRT,
        r"initrd is too large",
        "the initrd does not fit into the guest's memory",
        "raise machine.memory",
    ),
    _signature(
        "no-memory",
        Source.LIBVIRT,
        r"cannot set up guest memory|Cannot allocate memory",
        "the host has not enough memory for the guest",
        "lower machine.memory, or stop other guests",
    ),
    _signature(
        "no-kvm",
        Source.LIBVIRT,
        r"does not support virt type 'kvm'|Could not access KVM kernel module|failed to initialize kvm",
        "KVM does not work for QEMU on libvirt's host",
        'set machine.accelerator = "tcg", or let QEMU\'s user open /dev/kvm',
    ),
    _signature(
        "readonly-share",
        Source.LIBVIRT,
        r"virtiofs does not yet support read-only mode|unrecognized option '?--readonly",
        "this libvirt or virtiofsd cannot share read-only",
        "remove <readonly/> from the share, or use libvirt 11 and virtiofsd 1.13",
    ),
    _signature(
        "emulator-missing",
        Source.LIBVIRT,
        r"Cannot check QEMU binary (?P<path>[^:\s]+): No such file|could not find capabilities for",
        "QEMU is not installed where the domain expects it",
        "install QEMU for this machine (Debian: qemu-system-x86), or correct <emulator>",
    ),
)

SIGNATURES: Final = (*_CONSOLE, *_LIBVIRT)


def find(source: Source, line: str) -> Found | None:
    """What a line of `source` means, by the first signature that it matches; None for nothing known."""
    for signature in SIGNATURES:
        if signature.source is source and (match := signature.pattern.search(line)) is not None:
            groups = {name: (text or "").strip() for name, text in match.groupdict().items()}
            return Found(signature, signature.cause.format(**groups).rstrip(), signature.fix.format(**groups), groups)
    return None
