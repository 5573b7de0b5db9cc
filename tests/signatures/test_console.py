from __future__ import annotations

from pathlib import Path

import pytest

from nixvm_loop.signatures import UNEXPLAINED, KernelClock, Source, find

RECORDED = Path(__file__).parents[1] / "fixtures" / "console"

# What ends each recorded boot, and words of its cause; recorded by tests/recorders/boot_failures.py.
BOOTS = [
    ("mini-panic", "kernel-panic", "Attempted to kill init! exitcode=0x00000100"),
    ("mini-no-virtiofs", "no-virtiofs", "has no virtiofs"),
    ("mini-wrong-tag", "no-share", "the share other-share, which the domain does not have"),
    ("mini-overlay", "overlay-failed", "failed to resolve '/sysroot/nix/.none': -2"),
    ("mini-no-init", "no-init", "-nixos-system-demo-1/init-missing does not exist"),
    ("mini-no-init-loud", "no-init", "-nixos-system-demo-1/init-missing does not exist"),
    ("mini-no-initrd-init", "no-root", "no initrd that it could use"),
    ("systemd-emergency", "emergency-mode", "emergency mode"),
    ("systemd-rescue", "rescue-mode", "rescue mode"),
    ("systemd-missing-device", "emergency-mode", "emergency mode"),
    ("systemd-mount-failed", "emergency-mode", "emergency mode"),
]
HEALTHY = ["mini-healthy-loud", "systemd-healthy-loud", "systemd-failing-unit"]


def recorded(name: str) -> list[str]:
    """The lines of a console."""
    return (RECORDED / f"{name}.log").read_bytes().decode(errors="replace").replace("\r\n", "\n").split("\n")


@pytest.mark.parametrize(("name", "wanted", "cause"), BOOTS)
def test_a_recorded_failure_is_known(name: str, wanted: str, cause: str) -> None:
    """The first line of a real guest's console that explains its failure, or else ends it, has the right meaning."""
    meanings = [found for line in recorded(name) if (found := find(Source.CONSOLE, line)) is not None]
    # A panic's cause may come after it; who waits for that is the boot watch.
    found = next((one for one in meanings if one.id not in UNEXPLAINED), meanings[0])
    assert found.id == wanted
    assert cause in found.cause
    assert found.fix


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_boot_has_no_failure(name: str) -> None:
    """Hundreds of lines of guests that came up hold neither a failure nor a second start."""
    clock = KernelClock()
    assert [line for line in recorded(name) if find(Source.CONSOLE, line) or clock.started_anew(line)] == []


@pytest.mark.parametrize(
    ("name", "clue", "cause"),
    [
        ("systemd-missing-device", "device-missing", "device /dev/nowhere did not appear"),
        ("systemd-mount-failed", "mount-failed", "/data could not be mounted"),
        ("systemd-failing-unit", "unit-failed", "systemd failed to start failing.service - A unit that fails"),
    ],
)
def test_a_recorded_clue_is_known(name: str, clue: str, cause: str) -> None:
    """What systemd says, in colours, before it gives up is understood."""
    found = next(found for line in recorded(name) if (found := find(Source.CONSOLE_CLUE, line)) is not None)
    assert (found.id, found.cause) == (clue, cause)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        # NixOS's scripted initrd: nixpkgs nixos/modules/system/boot/stage-1-init.sh
        ("An error occurred in stage 1 of the boot process, which must mount the", "stage-1-failed"),
        ("stage 2 init script (/mnt-root//nix/store/0c-nixos-system-demo/init) not found", "no-init"),
        ("mount: mounting nix-store on /mnt-root/nix/.ro-store failed: No such file or directory", "share-failed"),
        # NixOS's systemd initrd: nixos/modules/system/boot/systemd/initrd.nix, pkgs/by-name/ni/nixos-init
        ("No init= parameter on the kernel command line", "not-one-init"),
        ("Expected exactly one init param on kernel cmdline: init=/a init=/b", "not-one-init"),
        ("Failed to canonicalize /nix/store/0c-nixos-system-demo/init: No such file or directory", "no-init"),
        # util-linux, Linux, Debian's initramfs-tools
        ("mount: /sysroot/nix/.ro-store: unknown filesystem type 'virtiofs'.", "no-virtiofs"),
        ("mount: /nix/.ro-store: wrong fs type, bad option, bad superblock on share, missing codepage", "share-failed"),
        ("[    1.2] virtio-fs: tag <share> not found", "no-share"),
        ("mount: /sysroot/nix/store: unknown filesystem type 'virtiofs'.", "no-virtiofs"),
        ("[    1.3] overlayfs: failed to resolve '/mnt-root/nix/.ro-store': -2", "overlay-failed"),
        ("[    1.5] Requested init /missing failed (error -2).", "no-init"),
        ("(initramfs) ", "initrd-shell"),
        ("ALERT!  /dev/vda1 does not exist.  Dropping to a shell!", "initrd-shell"),
    ],
)
def test_texts_of_others(line: str, wanted: str) -> None:
    """Texts of systems that the test guests are not made of."""
    found = find(Source.CONSOLE, line)
    assert found is not None
    assert found.id == wanted


def test_what_may_not_end_a_boot() -> None:
    """A data disk that cannot be mounted, a failed unit, a shell's greeting: a guest may come up all the same."""
    for line in (
        "mount: /data: wrong fs type, bad option, bad superblock on /dev/vdb, missing codepage",
        "mount: mounting /dev/vdb on /data failed: No such device",
        "[FAILED] Failed to mount data.mount - /data.",
        "BusyBox v1.35.0 (Debian 1:1.35.0-4+deb12u1+b1) built-in shell (ash)",
        "mount: /home: unknown filesystem type 'virtiofs'.",
        # Linux fs/overlayfs/super.c: said of overlays that are mounted all the same, and of a container's
        "[    9.1] overlayfs: upper fs does not support xattr, falling back to index=off,metacopy=off.",
        "[    9.1] overlayfs: upper fs does not support tmpfile.",
        "[    9.1] overlayfs: workdir is in-use as upperdir/workdir of another mount, accessing files from both mounts",
        "[    9.1] overlayfs: missing 'lowerdir'",
        "[    9.1] overlayfs: failed to resolve '/var/lib/containers/overlay/l/X': -2",
    ):
        assert find(Source.CONSOLE, line) is None


@pytest.mark.parametrize(("name", "first"), [("mini-boot-loop", 1), ("mini-boot-loop-loud", 356)])
def test_a_recorded_boot_loop(name: str, first: int) -> None:
    """The first line after the restart that is the next boot's is known as that, with `quiet` as without."""
    clock = KernelClock()
    lines = recorded(name)
    anew = next(number for number, line in enumerate(lines) if clock.started_anew(line))
    assert anew == first
    assert any("reboot: Restarting system" in line for line in lines[:first])


@pytest.mark.parametrize(
    ("lines", "again"),
    [
        (["[    9.100000] a: late", "[    0.400000] b: early"], True),
        (["[    9.100000] a: late", "[    9.099000] b: of another processor"], False),
        (["<<< NixOS Stage 1 >>>", "<<< NixOS Stage 2 >>>", "\x1b[1;32m<<< NixOS Stage 1 >>>\x1b[0m"], True),
        (["SeaBIOS (version 1.16)", "[    0.000000] Linux version 6.1"], False),
        (["SeaBIOS (version 1.16)", "SeaBIOS (version 1.16)"], True),
        (["[    0.000000] Linux version 6.1", "SeaBIOS (version 1.16)"], True),
        (["nixvm-loop-host-key: ssh-ed25519 AAAA", "nixvm-loop-host-key: ssh-ed25519 AAAA"], False),
    ],
)
def test_other_signs_of_a_second_start(lines: list[str], again: bool) -> None:  # noqa: FBT001  # the expectation
    """A clock that runs backwards, or what is said once in a boot."""
    clock = KernelClock()
    assert [clock.started_anew(line) for line in lines] == [False] * (len(lines) - 1) + [again]
