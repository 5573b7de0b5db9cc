"""One guest to measure on: a checkout of the example, a domain, and edits as an editor makes them."""

from __future__ import annotations

import os
import re
import socket
import string
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchlib.tool import REPO, BenchError, command, environment

MEMORY_MIB: Final = 512
VCPUS: Final = 1
_CONFIG: Final = string.Template("""\
[guests.$name]
flake = "$flake"
attribute = "nixosConfigurations.demo"
state_dir = "$folder/state"
$more
[guests.$name.apply]
stop = "force"
mode = "$mode"

[guests.$name.machine]
memory = "${memory_mib}MiB"
vcpus = $vcpus
ssh_port = $port
""")


def run(*argv: str | Path, cwd: Path | None = None) -> str:
    """A program's output. Raises BenchError, with what it said, when it fails."""
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False, env=environment())
    if done.returncode != 0:
        raise BenchError(f"{argv[0]} has ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


def free_port() -> int:
    """A TCP port that nobody on 127.0.0.1 has just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def replace(path: Path, text: str) -> None:
    """Save a file as editors do: beside it, then renamed."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.rename(path)


@dataclass(frozen=True, slots=True)
class Desk:
    """A folder with the checkout `guest`, the guest's name, and its SSH port."""

    name: str
    folder: Path
    port: int

    @property
    def flake(self) -> Path:
        """The checkout that is edited."""
        return self.folder / "guest"

    @property
    def configuration(self) -> Path:
        """The file of an edit that changes the system alone."""
        return self.flake / "configuration.nix"

    def edited(self, motd: str) -> str:
        """The configuration with another message of the day."""
        text = self.configuration.read_text(encoding="utf-8")
        return re.sub(r'motd = ".*";', f'motd = "{motd}";', text)

    def configure(self, *, flake: str = "./guest", more: str = "", mode: str = "restart") -> None:
        """Write the config of nixvm-loop."""
        text = _CONFIG.substitute(
            name=self.name,
            flake=flake,
            folder=self.folder,
            more=more,
            mode=mode,
            memory_mib=MEMORY_MIB,
            vcpus=VCPUS,
            port=self.port,
        )
        (self.folder / "nixvm-loop.toml").write_text(text, encoding="utf-8")

    def loop(self, *arguments: str) -> str:
        """Run nixvm-loop to its end; its standard output."""
        return run(*command(*arguments), cwd=self.folder)


def desk(top: Path, name: str) -> Desk:
    """A new desk."""
    folder = top / name
    folder.mkdir()
    folder.chmod(0o755)
    made = Desk(name, folder, free_port())
    run(REPO / "scripts/lib/guest-checkout", made.flake)
    return made


def created(top: Path, name: str, mode: str = "restart") -> Desk:
    """A new desk with a guest that nixvm-loop has created and booted."""
    made = desk(top, name)
    made.configure(mode=mode)
    made.loop("create", "--start")
    return made


def by_hand(top: Path, name: str) -> tuple[Desk, Path]:
    """A new desk with a domain as people make them, not yet started; and the key to log in with."""
    made = desk(top, name)
    key = made.folder / "key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    template = string.Template((Path(__file__).parent / "hand-domain.xml").read_text(encoding="utf-8"))
    values = {
        "type": "kvm" if os.access("/dev/kvm", os.R_OK | os.W_OK) else "qemu",
        "name": name,
        "state": str(made.folder),
        "port": str(made.port),
        "key": key.with_suffix(".pub").read_text(encoding="utf-8").strip(),
        "memory_mib": str(MEMORY_MIB),
        "vcpus": str(VCPUS),
    }
    _define(made.folder, template.substitute(values))
    return made, key


def as_created(top: Path, name: str, model: Desk) -> tuple[Desk, Path]:
    """A new desk with the domain that nixvm-loop defines, under another name, started by nobody; and its key."""
    made = desk(top, name)
    xml = run("virsh", "-q", "dumpxml", "--inactive", model.name)
    xml = re.sub(r"\s*<uuid>.*</uuid>|\s*<metadata>.*?</metadata>", "", xml, flags=re.DOTALL)
    xml = xml.replace(f"<name>{model.name}</name>", f"<name>{name}</name>")
    xml = xml.replace(f"127.0.0.1:{model.port}-", f"127.0.0.1:{made.port}-")
    xml = re.sub(r"<(kernel|initrd)>.*</\1>", rf"<\1>{made.folder}/\1-current</\1>", xml)
    _define(made.folder, xml)
    return made, model.folder / "state" / model.name / "ssh" / "id_ed25519"


def _define(folder: Path, xml: str) -> None:
    file = folder / "domain.xml"
    file.write_text(xml, encoding="utf-8")
    run("virsh", "-q", "define", file)
