"""A desk at which domains are adopted and released, with libvirt's own test driver as the hypervisor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libvirt

from nixvm_loop.cli import main
from tests.checkout import ROOT

if TYPE_CHECKING:
    from pathlib import Path

UEFI = (ROOT / "tests" / "fixtures" / "libvirt" / "uefi-9.0.xml").read_text()
FLAGS = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
ALREADY = "domain uefi is adopted already"
SHARE = """<filesystem type='mount' accessmode='passthrough'>
  <driver type='virtiofs'/><source dir='{}'/><target dir='nix-store-share'/></filesystem>"""
SNAPSHOT = "<domainsnapshot><name>before</name></domainsnapshot>"


class Desk:
    """A guest `demo` whose domain is `uefi`, and a hypervisor that remembers for as long as the desk is open."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder, folder / "state/demo"
        (folder / "flake").mkdir()
        self.connection = libvirt.open("test:///default")
        self.domain = self.define(UEFI.replace("type='qemu'", "type='test'"))
        self.before = self.definition()
        self.configure()

    def configure(self, *lines: str) -> None:
        """Write the config, with more lines for the guest."""
        own = [
            'flake = "./flake"',
            'domain = "uefi"',
            'libvirt_uri = "test:///default"',
            f'state_dir = "{self.folder}/state"',
        ]
        (self.folder / "nixvm-loop.toml").write_text("\n".join(["[guests.demo]", *own, *lines]))

    def rename(self, name: str) -> None:
        """Have the config name the domain otherwise."""
        config = self.folder / "nixvm-loop.toml"
        config.write_text(config.read_text().replace('domain = "uefi"', f'domain = "{name}"'))

    def define(self, xml: str) -> libvirt.virDomain:
        """What virsh define does."""
        return self.connection.defineXML(xml)

    def edit(self, old: str, new: str) -> None:
        """What virsh edit does."""
        text = self.definition()
        assert old in text
        self.define(text.replace(old, new, 1))

    def definition(self) -> str:
        """What virsh dumpxml --inactive says."""
        text: str = self.domain.XMLDesc(FLAGS)
        return text

    def run(self, *arguments: str) -> int:
        """Run a command."""
        return main([*arguments, "-c", str(self.folder / "nixvm-loop.toml")])

    def untouched(self) -> bool:
        """Whether neither the domain nor the disk knows of an adoption."""
        return self.definition() == self.before and not self.state.exists()

    def close(self) -> None:
        """Leave nothing for the next test."""
        for handle in self.connection.listAllDomains():
            if handle.name() == "test":
                continue
            for snapshot in handle.listAllSnapshots():
                snapshot.delete()
            if handle.hasManagedSaveImage():
                handle.managedSaveRemove()
            active = handle.isActive()
            if handle.isPersistent():
                handle.undefine()
            if active:
                handle.destroy()
        self.connection.close()
