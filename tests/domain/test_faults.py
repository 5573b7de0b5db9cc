from __future__ import annotations

from typing import Any

import pytest

from nixvm_loop.domain.binding import library
from nixvm_loop.domain.faults import explain
from nixvm_loop.signatures import SIGNATURES, Source, find

MONITOR = "internal error: process exited while connecting to monitor: "
CLOSED = "internal error: qemu unexpectedly closed the monitor: "
QEMU = "2026-11-23T08:50:01.539261Z qemu-system-x86_64: "

# What libvirt 9.0 with QEMU 7.2 said when each was provoked, unless a version is named.
REFUSALS = [
    (
        (
            f"{CLOSED}{QEMU}-netdev user,id=n,hostfwd=tcp:127.0.0.1:2222-:22:"
            " Could not set up host forwarding rule 'tcp:127.0.0.1:2222-:22'"
        ),
        "port 2222 of 127.0.0.1 is already in use",
        "machine.ssh_port",
    ),
    (
        (
            f'{MONITOR}{QEMU}-device {{"driver":"vhost-user-fs-pci","id":"fs0","chardev":"c","queue-size":2048,'
            '"tag":"nix-store-share","bus":"pcie.0","addr":"0x2"}: queue-size property must be 1024 or smaller'
        ),
        "queue of 2048: it must be 1024 or smaller",
        "machine.queue",
    ),
    (
        f'{MONITOR}{QEMU}-device {{"queue-size":1000,"tag":"x"}}: queue-size property must be a power of 2',
        "queue of 1000: it must be a power of 2",
        "machine.queue",
    ),
    (  # libvirt 11.3
        (
            "internal error: Child process (passt --one-off --socket /run/libvirt/qemu/passt/2-demo-net0.socket --pid"
            " /run/libvirt/qemu/passt/2-demo-net0-passt.pid --tcp-ports 127.0.0.1/2222:22) unexpected exit status 1: No"
            " interfaces with usable IPv6 routes\n"
            "Failed to bind port 2222 (Address already in use) for option '-t 127.0.0.1/2222:22'\n"
        ),
        "port 2222 is already in use",
        "machine.ssh_port",
    ),
    (
        "Failed to bind port 22 (Permission denied) for option '-t 22'",
        "forwarded port: Failed to bind port 22 (Permission denied)",
        "machine.ssh_port",
    ),
    ("Cannot find 'passt' in path: No such file or directory", "passt, which forwards", "install passt"),
    ("internal error: virtiofsd binary '/n/virtiofsd' is not executable", "virtiofsd is not installed", "install"),
    (
        "operation failed: Unable to find a satisfying virtiofsd",
        "virtiofsd is not installed",
        "install",
    ),  # libvirt 11.3
    (
        (
            "internal error: Child process (/nonexistent --print-capabilities) unexpected exit status 127: libvirt:"
            "  error : cannot execute binary /nonexistent: No such file or directory"
        ),
        "virtiofsd is not installed",
        "install",
    ),
    (
        "internal error: Child process (/bin/false --print-capabilities) unexpected exit status 1",
        "virtiofsd ended at its start",
        "/var/log/libvirt/qemu/demo-fs0-virtiofsd.log",
    ),
    (
        (
            f"{MONITOR}{QEMU}-chardev socket,id=chr-vu-fs0,path=/var/lib/libvirt/qemu/domain-95-px/fs0-fs.sock:"
            " Failed to connect to '/var/lib/libvirt/qemu/domain-95-px/fs0-fs.sock': Connection refused"
        ),
        "virtiofsd ended at its start",
        "/var/log/libvirt/qemu/demo-fs0-virtiofsd.log",
    ),
    (
        "internal error: the virtiofs export directory '/nix/store' does not exist",
        "the shared folder /nix/store does not exist",
        "Nix installed",
    ),
    (
        "internal error: the virtiofs export directory '/run/nixvm-loop/store' does not exist",
        "the read-only mount of the host's store, is not there",
        "nixvm-loop rebuild",
    ),
    (
        (
            f'{CLOSED}qemu: -blockdev {{"driver":"file","filename":"/home/me/d.img"}}: Could not open'
            " '/home/me/d.img': Permission denied"
        ),
        "QEMU's user may not use the disk /home/me/d.img",
        "setfacl",
    ),
    (
        (
            f'{CLOSED}qemu: -blockdev {{"node-name":"libvirt-1-format"}}: Failed to get "write" lock\n'
            "Is another process using the image [/home/me/d.img]?"
        ),
        "another QEMU uses one of the domain's disks",
        "virsh list",
    ),
    (
        f"{CLOSED}qemu: -blockdev {{}}: Image is not in qcow2 format",
        "a disk's content is not what its format says",
        'format = "raw"',
    ),
    (
        "unsupported configuration: 'virtiofs' requires shared memory",
        "memory that can be shared",
        "<memoryBacking>",
    ),
    (
        (f"{CLOSED}qemu: could not open kernel file '/home/me/k': Permission denied"),
        "QEMU's user may not read /home/me/k",
        "state_dir",
    ),
    (
        (
            f"{CLOSED}qemu: error reading initrd /home/me/i: Failed to open"
            " file “/home/me/i”: open() failed: Permission denied"
        ),
        "QEMU's user may not read /home/me/i",
        "state_dir",
    ),
    (f"{MONITOR}qemu: could not open kernel file '/k': No such file or directory", "/k does not exist", "rebuild"),
    (
        f"{MONITOR}qemu: error reading initrd /i: Failed to open file “/i”: open() failed: No such file or directory",
        "/i does not exist",
        "rebuild",
    ),
    (
        f"{MONITOR}qemu: initrd is too large, cannot support.(max: 884735, need 3255068)",
        "does not fit into the guest's memory",
        "machine.memory",
    ),
    (
        "unsupported configuration: Emulator '/usr/bin/qemu-system-x86_64' does not support virt type 'kvm'",
        "KVM does not work",
        "machine.accelerator",
    ),
    (
        "unsupported configuration: virtiofs does not yet support read-only mode",
        "cannot share read-only",
        "<readonly/>",
    ),
    ("Cannot check QEMU binary /n/qemu: No such file or directory", "QEMU is not installed", "qemu-system-x86"),
    (
        "Failed to connect socket to '/var/run/libvirt/libvirt-sock': Permission denied",
        "you may not use libvirt's socket /var/run/libvirt/libvirt-sock",
        "group libvirt",
    ),
    (
        "Failed to connect socket to '/var/run/libvirt/libvirt-sock': No such file or directory",
        "libvirt's daemon is not running",
        "systemctl start libvirtd",
    ),
    ("internal error: client socket is closed", "libvirt's daemon has gone", "nixvm-loop rebuild"),
    ("internal error: unexpected qemu URI path '/nope', try qemu:///system", "no driver for this URI", "libvirt_uri"),
    ("Requested operation is not valid: network 'default' is not active", "network default", "virsh net-start default"),
    ("Network not found: no network with matching name 'default'", "has no network default", "virsh net-list"),
    ("no connection driver available for lxc:///system", "no driver for this URI", "libvirt_uri"),
]


def refusal(text: str) -> Any:
    """An error as libvirt's bindings raise it."""
    error = library().libvirtError("call() failed")
    error.err = (1, 10, text, 2, "", "", "", -1, -1)
    return error


@pytest.mark.parametrize(("text", "cause", "fix"), REFUSALS)
def test_a_refusal_is_told_with_cause_and_cure(text: str, cause: str, fix: str) -> None:
    """What was being done, why it failed and what to do; libvirt's own words stay in the details."""
    error = explain(refusal(text), "starting domain demo failed", domain="demo")
    assert error.message.startswith("starting domain demo failed: ")
    assert cause in error.message
    assert fix in str(error.hint)
    assert list(error.details) == text.splitlines()
    assert error.exit_code == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{MONITOR}{QEMU}Address space limit too low", "Address space limit too low"),
        ("operation failed: domain 'px' already exists with uuid 1", "domain 'px' already exists with uuid 1"),
        ("", "call() failed"),
    ],
)
def test_an_unknown_refusal_is_told_in_libvirts_words(text: str, message: str) -> None:
    """Without what libvirt puts in front of every error."""
    error = explain(refusal(text), "starting failed")
    assert error.message == f"starting failed: {message}"
    assert error.hint is None


def test_further_lines_become_details() -> None:
    """A message of several lines keeps its first in the message."""
    error = explain(refusal("XML error: first\nsecond\nthird"), "defining failed")
    assert error.message == "defining failed: first"
    assert error.details == ("second", "third")


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("[    2.1] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100", "kernel-panic"),
        ("mount: /sysroot/nix/store: unknown filesystem type 'virtiofs'.", "no-virtiofs"),
        ("mount: mounting nix-store-share on /sysroot/nix failed: No such device", "no-virtiofs"),
        ("[    1.7] virtio-fs: tag <other> not found", "no-share"),
        ("You are in emergency mode. After logging in, type", "emergency-mode"),
        ("[  OK  ] Reached target Multi-User System.", None),
        ("", None),
    ],
)
def test_console_lines(line: str, name: str | None) -> None:
    """Lines that mean a failed boot are known, others are not."""
    found = find(Source.CONSOLE, line)
    assert (found.id if found else None) == name


def test_a_signature_is_for_its_source_only() -> None:
    """Whoever prints libvirt's words on a console does not become libvirt."""
    assert find(Source.CONSOLE, "'virtiofs' requires shared memory") is None
    assert find(Source.LIBVIRT, "Kernel panic - not syncing: x") is None


def test_words_of_a_guest_are_only_inserted() -> None:
    """Braces in a guest's message are not taken for our own."""
    found = find(Source.CONSOLE, "Kernel panic - not syncing: {oops} {0}")
    assert found is not None
    assert found.cause == "its kernel panicked: {oops} {0}"


def test_ids_are_unique() -> None:
    """Each signature can be named."""
    names = [signature.id for signature in SIGNATURES]
    assert len(names) == len(set(names))
