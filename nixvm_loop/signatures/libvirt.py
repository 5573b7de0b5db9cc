"""What libvirt, and QEMU through it, refuse."""

from __future__ import annotations

from typing import Final

from nixvm_loop.signatures.pattern import Source, signature

LIBVIRT: Final = (
    signature(
        "libvirt-not-running",
        Source.LIBVIRT,
        r"Failed to connect socket to '(?P<socket>[^']*)': (?:No such file or directory|Connection refused)",
        "libvirt's daemon is not running (nothing answers at {socket})",
        "start it: `systemctl start libvirtd` (or virtqemud.socket), NixOS: virtualisation.libvirtd.enable = true;"
        " or check libvirt_uri",
    ),
    signature(
        "libvirt-gone",
        Source.LIBVIRT,
        r"client socket is closed|End of file while reading data|Cannot (?:write|recv) data: (?:Broken|Connection)",
        "libvirt's daemon has gone: it was stopped, or died",
        "guests run on without it; once it is back (`systemctl status libvirtd`), nixvm-loop rebuild goes on",
    ),
    signature(
        "libvirt-permission",
        Source.LIBVIRT,
        r"Failed to connect socket to '(?P<socket>[^']*)': Permission denied",
        "you may not use libvirt's socket {socket}",
        "become a member of group libvirt (NixOS: libvirtd) and log in anew: `sudo usermod -aG libvirt $USER`",
    ),
    signature(
        "libvirt-authentication",
        Source.LIBVIRT,
        r"authentication (?:unavailable|failed|cancelled)|no polkit agent|access denied",
        "libvirt refused you",
        "become a member of group libvirt (NixOS: libvirtd) and log in anew: `sudo usermod -aG libvirt $USER`",
    ),
    signature(
        "libvirt-uri",
        Source.LIBVIRT,
        r"unexpected qemu URI path|no connection driver available for (?P<uri>\S+)|[Cc]annot parse URI",
        "libvirt has no driver for this URI",
        'check libvirt_uri; the default is "qemu:///system"',
    ),
    signature(
        "port-in-use",
        Source.LIBVIRT,
        r"Could not set up host forwarding rule '?tcp:(?P<address>[^:]*):(?P<port>\d+)-",
        "port {port} of {address} is already in use",
        "set machine.ssh_port (or machine.forward) to a free port; `ss -ltnp 'sport = :{port}'` shows who has it",
    ),
    signature(
        "port-in-use-passt",
        Source.LIBVIRT,
        r"Failed to bind port (?P<port>\d+) \(Address already in use\)",
        "port {port} is already in use",
        "set machine.ssh_port (or machine.forward) to a free port; `ss -ltnp 'sport = :{port}'` shows who has it",
    ),
    signature(
        "port-refused-passt",
        Source.LIBVIRT,
        r"(?P<words>Failed to bind[^\r\n]*)",
        "passt could not listen on a forwarded port: {words}",
        "set machine.ssh_port (or machine.forward) to another port",
    ),
    signature(
        "no-passt",
        Source.LIBVIRT,
        r"Cannot find 'passt' in path",
        "passt, which forwards the guest's ports, is not installed where libvirt looks for it",
        "install passt on libvirt's host",
    ),
    signature(
        "network-inactive",
        Source.LIBVIRT,
        r"network '(?P<network>[^']*)' is not active",
        "libvirt's network {network} is not active",
        "`virsh net-start {network}`; `virsh net-autostart {network}` does it at every start of the host",
    ),
    signature(
        "no-network",
        Source.LIBVIRT,
        r"no network with matching name '(?P<network>[^']*)'",
        "libvirt has no network {network}",
        "`virsh net-list --all` shows those that it has, `virsh net-define FILE` adds one; or correct machine.networks"
        " (or the <interface> of your own domain)",
    ),
    signature(
        "queue-too-large",
        Source.LIBVIRT,
        r'"queue-size":(?P<queue>\d+).*queue-size property must be (?P<rule>[^\r\n]*)',
        "QEMU refuses the share's queue of {queue}: it must be {rule}",
        "set machine.queue (or <driver queue='…'/> of your own domain) to 1024",
    ),
    signature(
        "no-virtiofsd",
        Source.LIBVIRT,
        r"virtiofsd binary '(?P<path>[^']*)' is not executable"
        r"|[Uu]nable to find a satisfying virtiofsd|virtiofsd was not found"
        r"|--print-capabilities\) unexpected exit status 127",
        "virtiofsd is not installed where libvirt looks for it",
        "install virtiofsd (Debian: virtiofsd, in 12 qemu-system-common; NixOS:"
        " virtualisation.libvirtd.qemu.vhostUserPackages = [ pkgs.virtiofsd ])",
    ),
    signature(
        "no-store-view",
        Source.LIBVIRT,
        r"virtiofs export directory '(?P<path>/run/nixvm-loop/store)' does not exist",
        "{path}, the read-only mount of the host's store, is not there: it goes with each boot of the host",
        "nixvm-loop rebuild starts the guest: as root it mounts that again, as another user it does without",
    ),
    signature(
        "disk-forbidden",
        Source.LIBVIRT,
        r"(?:Could not open|Cannot access storage file) '(?P<path>[^']+)'[^\n]*: Permission denied",
        "QEMU's user may not use the disk {path}",
        "every folder on the way must be open to it (`chmod o+x`, or `setfacl -m u:USER:x`), and the file itself"
        " (`setfacl -m u:USER:rw`); Debian's QEMU runs as libvirt-qemu, NixOS's as qemu-libvirtd",
    ),
    signature(
        "disk-format",
        Source.LIBVIRT,
        r"(?P<words>Image is not in qcow2 format)",
        "a disk's content is not what its format says: {words}",
        'set format = "raw" for it in machine.disks, or name an image made by `qemu-img create -f qcow2`',
    ),
    signature(
        "disk-in-use",
        Source.LIBVIRT,
        r"(?P<words>Failed to get \S+ lock)",
        "another QEMU uses one of the domain's disks",
        "stop the domain that has it (`virsh list`), or give this one another disk",
    ),
    signature(
        "no-share-folder",
        Source.LIBVIRT,
        r"virtiofs export directory '(?P<path>[^']*)' does not exist",
        "the shared folder {path} does not exist on libvirt's host",
        "is Nix installed there? libvirt shares its own host's {path}",
    ),
    signature(
        "virtiofsd-failed",
        Source.LIBVIRT,
        r"-fs\d*\.sock': Connection refused|virtiofsd died unexpectedly|--print-capabilities\) unexpected exit status",
        "virtiofsd ended at its start",
        "its log says why: /var/log/libvirt/qemu/DOMAIN-fs0-virtiofsd.log (root's); can root read /nix/store there?",
    ),
    signature(
        "no-shared-memory",
        Source.LIBVIRT,
        r"'?virtiofs'? requires (?:shared memory|one or more NUMA nodes)",
        "virtiofs needs memory that can be shared",
        "add <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking> to the domain",
    ),
    signature(
        "boot-file-forbidden",
        Source.LIBVIRT,
        r"(?:could not open kernel file|error reading initrd) '?(?P<path>[^':]+)'?:.*Permission denied",
        "QEMU's user may not read {path}",
        "every folder on the way must be open to it (`chmod o+x`), or move state_dir out of your home",
    ),
    signature(
        "no-boot-file",
        Source.LIBVIRT,
        r"(?:could not open kernel file|error reading initrd) '?(?P<path>[^':]+)'?:.*No such file",
        "{path} does not exist",
        "`nixvm-loop rebuild` makes it",
    ),
    signature(
        "no-room-for-initrd",
        Source.LIBVIRT,
        r"initrd is too large",
        "the initrd does not fit into the guest's memory",
        "raise machine.memory",
    ),
    signature(
        "no-memory",
        Source.LIBVIRT,
        r"cannot set up guest memory|Cannot allocate memory",
        "the host has not enough memory for the guest",
        "lower machine.memory, or stop other guests",
    ),
    signature(
        "no-kvm",
        Source.LIBVIRT,
        r"does not support virt type 'kvm'|Could not access KVM kernel module|failed to initialize kvm",
        "KVM does not work for QEMU on libvirt's host",
        'set machine.accelerator = "tcg", or let QEMU\'s user open /dev/kvm',
    ),
    signature(
        "readonly-share",
        Source.LIBVIRT,
        r"virtiofs does not yet support read-only mode|unrecognized option '?--readonly",
        "this libvirt or virtiofsd cannot share read-only",
        "remove <readonly/> from the share (nixvm-loop create does, from its own domain), or use libvirt 11 and"
        " virtiofsd 1.13",
    ),
    signature(
        "emulator-missing",
        Source.LIBVIRT,
        r"Cannot check QEMU binary (?P<path>[^:\s]+): No such file|could not find capabilities for",
        "QEMU is not installed where the domain expects it",
        "install QEMU for this machine (Debian: qemu-system-x86), or correct <emulator>",
    ),
)
