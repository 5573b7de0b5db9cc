"""What guests say on their consoles when they do not boot, or do."""

from __future__ import annotations

from typing import Final

from nixvm_loop.signatures.pattern import Source, signature

_MOUNTS: Final = "the guest's fileSystems, store.share and the domain's <target dir> must name the same share"

# In the order of their weight: a line has the meaning of the first that matches. NixOS's own texts are nixpkgs':
# nixos/modules/system/boot/stage-1-init.sh (scripted initrd), nixos/modules/system/boot/systemd/initrd.nix and
# pkgs/by-name/ni/nixos-init (systemd initrd). Those of Debian's initrd are initramfs-tools' scripts/functions.
CONSOLE: Final = (
    signature(
        "overlay-failed",
        Source.CONSOLE,
        r"mounting overlay on (?P<path>\S*/nix\S*) failed: (?P<reason>[^\r\n]*)"
        r"|overlayfs: (?P<words>failed to resolve '[^']*/nix/[^\r\n]*)",
        "the store's overlay could not be mounted: {words}{reason}",
        'fileSystems."/nix/store".overlay needs the share as lowerdir, and upperdir and workdir on one writable layer',
    ),
    signature(
        "no-virtiofs",
        Source.CONSOLE,
        r"mount: \S*/nix[/:]\S*:? unknown filesystem type '?virtiofs"
        r"|mounting \S+ on \S*/nix\S* failed: No such device",
        "its kernel or initrd has no virtiofs",
        'add "virtiofs" and "virtio_pci" to boot.initrd.availableKernelModules',
    ),
    signature(
        "no-share",
        Source.CONSOLE,
        r"virtio-?fs: tag <(?P<tag>[^>]*)> not found|mounting (?P<device>\S+) on \S*/nix\S* failed: Invalid argument",
        "it mounts the share {tag}{device}, which the domain does not have",
        _MOUNTS,
    ),
    signature(
        "share-failed",
        Source.CONSOLE,
        r"mounting (?P<device>\S+) on (?P<path>\S*/nix\S*) failed: (?P<reason>[^\r\n]*)"
        r"|mount: (?P<path2>\S*/nix/[^\s:]+): (?P<reason2>wrong fs type[^\r\n]*)",
        "mounting {device} on {path}{path2} failed: {reason}{reason2}",
        _MOUNTS,
    ),
    signature(
        "no-init",
        Source.CONSOLE,
        r"stage 2 init script \(\S*?(?P<stage2>/nix/store/[^\s)]+)\) not found"
        r"|switch_root: can't execute '(?P<path>[^']*)': No such file"
        r"|(?:Requested init|Failed to execute) (?P<init>\S+) (?:failed )?\(error -2\)"
        r"|Failed to canonicalize (?P<closure>/nix/store/[^\s:]+)",
        "its init {stage2}{path}{init}{closure} does not exist",
        "does the guest mount the shared store at /nix/store before stage 2, and is the share this host's store?",
    ),
    signature(
        "not-one-init",
        Source.CONSOLE,
        r"No init= parameter on the kernel command line|Expected exactly one init param",
        "its initrd wants exactly one init= on the kernel's command line",
        "leave init= out of boot.kernelParams and apply.kernel_params; nixvm-loop adds the right one",
    ),
    signature(
        "no-root",
        Source.CONSOLE,
        r"Kernel panic - not syncing: VFS: Unable to mount root fs",
        "its kernel found no initrd that it could use",
        "does the initrd have an /init, is the domain's memory large enough for it, does rdinit= name another?",
    ),
    signature(
        "kernel-panic",
        Source.CONSOLE,
        r"Kernel panic - not syncing: (?P<reason>[^\r\n]*)",
        "its kernel panicked: {reason}",
        "the console's last lines say what came before",
    ),
    signature(
        "stage-1-failed",
        Source.CONSOLE,
        r"An error occurred in stage 1 of the boot process",
        "its initrd could not mount the file systems and waits for a key",
        "the console's last lines name the mount; boot.panic_on_fail makes the initrd panic instead of waiting",
    ),
    signature(
        "initrd-shell",
        Source.CONSOLE,
        r"^\(initramfs\) |Dropping to a shell!|^dracut:/?\S*# |Entering emergency mode\. Exit the shell to continue",
        "its initrd gave up and opened a shell",
        "the console's last lines say what is missing; `nixvm-loop console` leads to the shell",
    ),
    signature(
        "emergency-mode",
        Source.CONSOLE,
        r"You are in emergency mode",
        "systemd stopped in emergency mode",
        "`nixvm-loop console` leads to its prompt; a mount that the boot can do without has the option nofail",
    ),
    signature(
        "rescue-mode",
        Source.CONSOLE,
        r"You are in rescue mode",
        "systemd stopped in rescue mode",
        "the boot was asked for it: look for systemd.unit=, rescue, single or 1 among the kernel's parameters, and at"
        " systemd.defaultUnit",
    ),
    signature(
        "locked-console",
        Source.CONSOLE,
        r"Cannot open access to console, the root account is locked",
        "systemd stopped and offers no shell, because root has no password",
        "boot.initrd.systemd.emergencyAccess = true (or users.users.root.hashedPassword) opens one",
    ),
)

# Of these, clues may tell the cause.
UNEXPLAINED: Final = frozenset(
    {"kernel-panic", "stage-1-failed", "initrd-shell", "emergency-mode", "rescue-mode", "locked-console"}
)

# What a boot may survive; when it does not, this is why.
CLUES: Final = (
    signature(
        "layer-full",
        Source.CONSOLE_CLUE,
        r"(?P<words>[^\r\n]*No space left on device)",
        "the guest had no room left: {words}",
        "`nixvm-loop doctor` names what fills the writable layer; a restart empties one on tmpfs, machine.memory and a"
        " disk make it larger",
    ),
    signature(
        "device-missing",
        Source.CONSOLE_CLUE,
        r"Timed out waiting for device (?:\S+\.device - )?(?P<device>[^\s,]+?)[.,]?(?:\s|$)",
        "device {device} did not appear",
        "does the domain have that disk? fileSystems names it",
    ),
    signature(
        "overlay-trouble",
        Source.CONSOLE_CLUE,
        # Overlayfs says so of any overlay, and mounts some of them all the same.
        r"overlayfs: (?P<words>(?:failed to resolve|missing |upper fs |upperdir |workdir )[^\r\n]*)",
        "overlayfs said: {words}",
        'fileSystems."/nix/store".overlay needs the share as lowerdir, and upperdir and workdir on one writable layer',
    ),
    signature(
        "mount-failed",
        Source.CONSOLE_CLUE,
        r"Failed to mount (?:(?P<unit>\S+\.mount) - )?(?P<path>[^\r\n]+?)\.?\s*$",
        "{path} could not be mounted",
        _MOUNTS,
    ),
    signature(
        "unit-failed",
        Source.CONSOLE_CLUE,
        r"\[ ?FAILED ?\] Failed to (?P<what>[^\r\n]+?)\.?\s*$",
        "systemd failed to {what}",
        "the unit's log is in the guest's journal",
    ),
    signature(
        "mount-refused",
        Source.CONSOLE_CLUE,
        r"mount: (?P<words>[^\r\n]*(?:wrong fs type|unknown filesystem type|special device|failed: )[^\r\n]*)",
        "mount said: {words}",
        _MOUNTS,
    ),
)

# Lines of a guest whose boot went well.
MILESTONES: Final = (
    signature("announced", Source.CONSOLE_MILESTONE, r"^nixvm-loop-host-key: ", "it announced its host key", ""),
    signature(
        "multi-user",
        Source.CONSOLE_MILESTONE,
        r"Reached target .*Multi-User System",
        "it reached multi-user.target",
        "",
    ),
    signature("login", Source.CONSOLE_MILESTONE, r"^\S+ login: ?", "it asks for a login", ""),
)
