"""Records what the consoles of guests say that do not boot, for the tests of signatures.

    scripts/world run -- .venv/bin/python tests/recorders/boot_failures.py [NAME...]

Each case breaks a test guest in its own way and boots it; what its console says lands in
tests/fixtures/console/NAME.log.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).parents[2]
FIXTURES = REPO / "tests/fixtures/console"
CHECKOUTS = {"mini": REPO / "scripts/lib/guest-checkout", "systemd": REPO / "tests/guests/systemd/checkout"}
LOUD = ("kernel-params.nix", '"quiet"', "")
CONFIG = """
[guests.recorded]
flake = "./guest"
attribute = "nixosConfigurations.demo"
state_dir = "{folder}/state"

[guests.recorded.machine]
memory = "768MiB"
ssh_port = 22990
"""


@dataclass(frozen=True)
class Case:
    """A way to break a guest.

    Attributes:
        edits: Each a file of the guest, a text in it, and what it becomes.
        seconds: How long its console is listened to.
        on_reboot: What libvirt does when the guest reboots.
    """

    name: str
    guest: str
    edits: tuple[tuple[str, str, str], ...]
    seconds: float = 8
    on_reboot: str = "destroy"


SHARE_MOUNT = "[Mount]\\nWhat=other-share\\nWhere=/data\\nType=virtiofs\\n"
CASES = (
    Case("mini-panic", "mini", (("stage-1.sh", "for module in", 'fail "nothing works"\nfor module in'),)),
    Case("mini-no-virtiofs", "mini", (("stage-1.sh", "/modules/*; do", "/modules/*-[!v]*; do"),)),
    Case("mini-wrong-tag", "mini", (("stage-1.sh", "-o ro nix-store-share", "-o ro other-share"),)),
    Case("mini-overlay", "mini", (("stage-1.sh", "lowerdir=/sysroot/nix/.ro-store", "lowerdir=/sysroot/nix/.none"),)),
    Case("mini-no-init", "mini", (("stage-1.sh", '"$init"', '"$init-missing"'),)),
    Case("mini-no-init-loud", "mini", (("stage-1.sh", '"$init"', '"$init-missing"'), LOUD)),
    Case("mini-no-initrd-init", "mini", (("kernel-params.nix", '"quiet"', '"quiet" "rdinit=/missing"'),)),
    Case("mini-shell", "mini", (("stage-1.sh", "init=\n", "init=\nsh </dev/console >/dev/console 2>&1\n"),)),
    Case("mini-boot-loop", "mini", (("configuration.nix", 'startup = ""', 'startup = "reboot -f"'),), 25, "restart"),
    Case(
        "mini-boot-loop-loud", "mini", (("configuration.nix", 'startup = ""', 'startup = "reboot -f"'), LOUD), 25,
        "restart",
    ),
    Case("mini-healthy-loud", "mini", (LOUD,)),
    Case("systemd-emergency", "systemd", (("configuration.nix", "multi-user.target", "emergency.target"),), 20),
    Case("systemd-rescue", "systemd", (("configuration.nix", "multi-user.target", "rescue.target"),), 40),
    Case("systemd-missing-device", "systemd", (("configuration.nix", "Device = false", "Device = true"),), 25),
    Case(
        "systemd-mount-failed",
        "systemd",
        (
            ("configuration.nix", "Device = false", "Device = true"),
            ("configuration.nix", "units = { }", f'units = {{ "data.mount" = "{SHARE_MOUNT}"; }}'),
        ),
        25,
    ),
    Case("systemd-failing-unit", "systemd", (("configuration.nix", "Unit = false", "Unit = true"),), 30),
    Case("systemd-healthy-loud", "systemd", (LOUD,), 30),
)  # fmt: skip


def run(*argv: str | Path, folder: Path) -> str:
    """A command's output; its failure ends everything."""
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=True).stdout


def boot(folder: Path, case: Case) -> bytes:
    """What the console says from the start on, for as long as the case wants."""
    console = Path("/var/log/libvirt/qemu/recorded-console")
    console.unlink(missing_ok=True)
    xml = run("virsh", "dumpxml", "recorded", folder=folder)
    xml = re.sub(r"<(serial|console) type='pty'>", rf"<\1 type='file'><source path='{console}'/>", xml)
    xml = re.sub(r"<on_reboot>\w+<", f"<on_reboot>{case.on_reboot}<", xml)
    toplevel = run(
        "nix", "build", "./guest#nixosConfigurations.demo.config.system.build.toplevel", "--no-link", "--json",
        folder=folder,
    ).split('"out":"')[1].split('"')[0]  # fmt: skip
    cmdline = f"init={toplevel}/init {Path(toplevel, 'kernel-params').read_text()}"
    for tag, text in (("kernel", f"{toplevel}/kernel"), ("initrd", f"{toplevel}/initrd"), ("cmdline", cmdline)):
        xml = re.sub(rf"<{tag}>[^<]*<", f"<{tag}>{text}<", xml)
    (folder / "domain.xml").write_text(xml)
    run("virsh", "define", "domain.xml", folder=folder)
    run("virsh", "start", "recorded", folder=folder)
    time.sleep(case.seconds)
    subprocess.run(["virsh", "destroy", "recorded"], capture_output=True, check=False)
    return console.read_bytes()


def record(case: Case) -> None:
    """Break, boot, write."""
    with tempfile.TemporaryDirectory(dir=os.environ["TMPDIR"]) as name:
        folder = Path(name)
        folder.chmod(0o755)
        run(CHECKOUTS[case.guest], folder / "guest", folder=folder)
        for file, old, new in case.edits:
            path = folder / "guest" / file
            text = path.read_text()
            if old not in text:
                sys.exit(f"{case.name}: {old!r} is not in {file}")
            path.write_text(text.replace(old, new))
        (folder / "nixvm-loop.toml").write_text(CONFIG.format(folder=folder))
        run("nixvm-loop", "create", folder=folder)
        try:
            said = boot(folder, case)
        finally:
            run("nixvm-loop", "delete", "--yes", folder=folder)
    (FIXTURES / f"{case.name}.log").write_bytes(said)
    print(f"{case.name}: {len(said)} bytes")


def main() -> None:
    """All cases, or those named."""
    FIXTURES.mkdir(exist_ok=True)
    for case in CASES:
        if not sys.argv[1:] or case.name in sys.argv[1:]:
            record(case)


if __name__ == "__main__":
    main()
