"""Every key of the configuration file, as data: the reader, the suggestions and the JSON schema are made from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from nixvm_loop.config import kinds
from nixvm_loop.config.flakes import attribute, flake, override
from nixvm_loop.model.settings import (
    Accelerator,
    ApplyMode,
    ApplySettings,
    BuildSettings,
    CheckSettings,
    Disk,
    DiskFormat,
    FolderShare,
    GuestSettings,
    HostKeyPolicy,
    MachineSettings,
    OnChange,
    SshSettings,
    StopPolicy,
    StoreSettings,
    WatchSettings,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nixvm_loop.config.kinds import Kind

_HOUR_S: Final = 3600.0
NAME: Final = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_GUEST_PATH: Final = r"(?!.*/\.\.(?:/|$))/\S*[^\s/]"
_GUEST_PATH_EXPECTED: Final = "an absolute path in the guest, without blanks, .. and a slash at its end"
_DOMAIN: Final = r"[^/\s.-][^/]*"
_DOMAIN_EXPECTED: Final = "a domain's name, without slashes and not starting with a blank, - or ."
MOST_NETWORKS: Final = 4
# A virtiofs tag has 36 bytes.
_TAG: Final = kinds.line("a tag of at most 36 bytes", r"[^\s,]+", 36)
NAME_EXPECTED: Final = "a name of letters, digits, dots, dashes and underscores that starts with none of - and ."


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a table.

    Attributes:
        text: A sentence for the schema.
        field: The setting it fills, when that has another name.
        default: What stands for it when it is left out; without one the setting's own default counts.
    """

    name: str
    kind: Kind
    text: str
    field: str = ""
    default: str | None = None

    @property
    def target(self) -> str:
        """The setting's name."""
        return self.field or self.name

    @property
    def has_default(self) -> bool:
        """Whether the default is decided here."""
        return self.default is not None


@dataclass(frozen=True, slots=True)
class Section:
    """A table of the file.

    Attributes:
        tables: Keys that are tables with sections of their own.
        lists: Keys that are lists of tables.
        required: Keys that each table of such a list must have.
        most: How many tables such a list may have.
    """

    settings: type[Any]
    keys: tuple[Key, ...]
    tables: tuple[str, ...] = ()
    lists: Mapping[str, Section] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    most: int = 0


WATCH: Final = Section(
    WatchSettings,
    (
        Key("paths", kinds.list_of(kinds.path()), "Files and folders that count beside what the flake can see."),
        Key(
            "ignore", kinds.list_of(kinds.line("a line in gitignore's syntax")), "What not to look at, as in gitignore."
        ),
        Key("quiet", kinds.duration(0, 60), "How long nothing may change before a change set is taken.", "quiet_s"),
        Key("on_change", kinds.choice(OnChange), "What a save does to a build that is under way."),
    ),
)
BUILD: Final = Section(
    BuildSettings,
    (
        Key(
            "options", kinds.list_of(kinds.line("an option of nix build")), "Options added to nix build, one word each."
        ),
        Key(
            "override_inputs",
            kinds.mapping_of(override(), kinds.line("the name of an input", r"[A-Za-z_][A-Za-z0-9_/-]*")),
            "Flake references that stand in for inputs of the flake.",
        ),
    ),
)
APPLY: Final = Section(
    ApplySettings,
    (
        Key("mode", kinds.choice(ApplyMode), "How a new system reaches the guest."),
        Key("stop", kinds.choice(StopPolicy), "Whether a running guest is asked to power off before it is forced to."),
        Key(
            "stop_timeout",
            kinds.duration(0, _HOUR_S),
            "How long the guest may take to power off.",
            field="stop_timeout_s",
        ),
        Key("boot_timeout", kinds.duration(1, _HOUR_S), "How long the guest may take to boot.", field="boot_timeout_s"),
        Key(
            "switch_timeout",
            kinds.duration(1, _HOUR_S),
            "How long a live switch may take.",
            field="switch_timeout_s",
        ),
        Key(
            "rollback",
            kinds.boolean(),
            "Whether a system that does not come up, or fails a required check, is replaced by the last good one.",
        ),
        Key(
            "kernel_params",
            kinds.list_of(kinds.line("one kernel parameter that is not init=", r'(?!init=)(?:[^\s"]|"[^"]*")+')),
            "Kernel parameters added to the system's own, unless they are there.",
        ),
    ),
)
DISK: Final = Section(
    Disk,
    (
        Key("path", kinds.path(), "The file or block device; it must be there."),
        Key("format", kinds.auto_or(kinds.choice(DiskFormat)), "How it is laid out; auto is qcow2 for *.qcow2."),
        Key("readonly", kinds.boolean(), "Whether the guest can only read it."),
    ),
    required=("path",),
    most=8,
)
SHARE: Final = Section(
    FolderShare,
    (
        Key("tag", _TAG, "The name that the guest mounts it by."),
        Key("source", kinds.path(), "The folder of the host; it must be there."),
        Key("readonly", kinds.boolean(), "Whether the host lets the guest only read it."),
    ),
    required=("tag", "source"),
    most=8,
)
MACHINE: Final = Section(
    MachineSettings,
    (
        Key("memory", kinds.size(2**26, 2**44), "The guest's memory.", field="memory_bytes"),
        Key("vcpus", kinds.integer(1, 255), "The guest's processors."),
        Key(
            "accelerator", kinds.choice(Accelerator), "What runs the processors; auto takes KVM where it really works."
        ),
        Key("ssh_port", kinds.integer(1, kinds.LAST_PORT), "The port of 127.0.0.1 that leads to the guest's sshd."),
        Key("forward", kinds.list_of(kinds.forward()), "Further TCP ports of 127.0.0.1 that lead into the guest."),
        Key("queue", kinds.integer(1, 1024), "The queue size of the shared store."),
        Key(
            "networks",
            kinds.list_of(kinds.line("the name of a network of libvirt's", r"[^/\s][^/]*", 200), MOST_NETWORKS),
            "Networks of libvirt's, in place of the forwarded ports; their leases tell the guest's address.",
        ),
    ),
    lists={"disks": DISK, "shares": SHARE},
)
SSH: Final = Section(
    SshSettings,
    (
        Key("host", kinds.line("an address or a host name", r"[^\s\-][^\s]*"), "The guest's address."),
        Key("port", kinds.auto_or(kinds.integer(1, kinds.LAST_PORT)), "The port of the guest's sshd."),
        Key("user", kinds.line("a user's name", r"[A-Za-z0-9_][A-Za-z0-9_.@-]*\$?"), "Who logs in."),
        Key("key", kinds.auto_or(kinds.path()), "The private key; auto is the one that create makes."),
        Key("host_key", kinds.choice(HostKeyPolicy), "How the guest proves who it is."),
        Key(
            "proxy_command",
            kinds.list_of(kinds.line("a word of a command")),
            "A command whose input and output lead to the guest's sshd, one word each.",
        ),
    ),
)
STORE: Final = Section(
    StoreSettings,
    (
        Key("share", _TAG, "The tag of the shared store."),
        Key("mount_point", kinds.line(_GUEST_PATH_EXPECTED, _GUEST_PATH), "Where the guest has its store."),
        Key("ro_store", kinds.line(_GUEST_PATH_EXPECTED, _GUEST_PATH), "Where the guest mounts the share."),
        Key("rw_store", kinds.line(_GUEST_PATH_EXPECTED, _GUEST_PATH), "Where the writable layer is."),
        Key("warn_at", kinds.share(), "How full the writable layer may be."),
    ),
)
CHECK: Final = Section(
    CheckSettings,
    (
        Key("name", kinds.line(NAME_EXPECTED, NAME, 100), "The check's name, or the id of one that is built in."),
        Key("command", kinds.script("a command line for the guest's shell"), "Run in the guest; 0 is good."),
        Key("timeout", kinds.duration(0.001, _HOUR_S), "How long the command may take.", field="timeout_s"),
        Key("required", kinds.boolean(), "Whether its failure means that the guest does not run what was built."),
    ),
)
# The guest's tables stand apart: a table is read with its own section, a key with its own kind.
GUEST_TABLES: Final = {"watch": WATCH, "build": BUILD, "apply": APPLY, "machine": MACHINE, "ssh": SSH, "store": STORE}
LIST_TEXTS: Final = {
    "disks": "Disks, in the guest as /dev/vda and so on.",
    "shares": "Further folders that the guest can mount.",
}
TABLE_TEXTS: Final = {
    "watch": "What is watched, and how patiently.",
    "build": "What is added to the call of nix build.",
    "apply": "How a built system is put to work.",
    "machine": "When present: nixvm-loop defines, updates and owns the domain.",
    "ssh": "How the guest is reached.",
    "store": "The shared store and its mounts in the guest.",
    "checks": "The user's own checks, and words on the built-in ones.",
}
GUEST: Final = Section(
    GuestSettings,
    (
        Key("flake", flake(), "The flake reference.", default="."),
        Key("attribute", attribute(), "The configuration in the flake; by default nixosConfigurations.NAME."),
        Key(
            "domain",
            kinds.line(_DOMAIN_EXPECTED, _DOMAIN, 200),
            "The name of libvirt's domain; by default the guest's.",
        ),
        Key(
            "libvirt_uri",
            kinds.line('a URI of libvirt, such as "qemu:///system"', r"[A-Za-z][A-Za-z0-9+.-]*:\S*"),
            "The libvirt that has the domain.",
            default="qemu:///system",
        ),
        Key("state_dir", kinds.path(), "Where state is kept; by default $XDG_STATE_HOME/nixvm-loop."),
        Key("keep", kinds.integer(1, 1000), "How many generations are kept."),
    ),
    tables=(*GUEST_TABLES, "checks"),
)
BUILT_IN_CHECKS: Final = (
    "boot-id",
    "system",
    "cmdline",
    "kernel",
    "store-share",
    "store-share-readonly",
    "store-overlay",
    "store-complete",
    "store-write",
    "rw-store-space",
    "failed-units",
)
LATER_CHECKS: Final = ("store-contents",)
LATER_TABLES: Final = ("notify",)
