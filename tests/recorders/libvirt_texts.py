"""Records what libvirt says of its host and of definitions, for the tests of domainxml.

    scripts/world run -- .venv/bin/python tests/recorders/libvirt_texts.py [FOLDER]

The texts land in FOLDER (tests/fixtures/libvirt) under the names of libvirt's calls and its version: the host's
capabilities without its UUID, and the definitions in FIXTURES/{user,uefi,numa}.xml as libvirt prints them once defined.
It moves some controllers when it reads its own text again, so what it prints then is recorded.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import libvirt

FIXTURES = Path(__file__).parents[1] / "fixtures" / "libvirt"
UUID = "00000000-0000-0000-0000-000000000000"


def main() -> None:
    """Ask and write."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FIXTURES
    connection = libvirt.open("qemu:///system")
    number = connection.getLibVersion()
    version = f"{number // 1_000_000}.{number // 1000 % 1000}"
    capabilities = re.sub(r"(?<=<uuid>)[^<]*", UUID, connection.getCapabilities(), count=1)
    (folder / f"capabilities-{version}.xml").write_text(capabilities)
    (folder / f"domcapabilities-{version}.xml").write_text(connection.getDomainCapabilities(None, None, "q35", "qemu"))
    for name in ("user", "uefi", "numa"):
        (folder / f"{name}-{version}.xml").write_text(defined(connection, (FIXTURES / f"{name}.xml").read_text()))
    print(f"recorded libvirt {version} in {folder}")


def defined(connection: libvirt.virConnect, text: str) -> str:
    """What libvirt makes of a definition."""
    flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
    domain = connection.defineXML(text)
    try:
        domain = connection.defineXML(domain.XMLDesc(flags))
        printed: str = domain.XMLDesc(flags)
    finally:
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
    return printed


if __name__ == "__main__":
    main()
