from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree

from nixvm_loop.domainxml import Adoption, adopt, read
from nixvm_loop.domainxml.normal import same, same_but_boot, unified
from nixvm_loop.domainxml.snapshot import holds_memory
from nixvm_loop.errors import DomainError

FIXTURES = Path(__file__).parents[1] / "fixtures" / "libvirt"
UEFI = (FIXTURES / "uefi-9.0.xml").read_text()
NUMA = (FIXTURES / "numa-9.0.xml").read_text()
USER = (FIXTURES / "user-9.0.xml").read_text()
ADOPTION = Adoption("/s/kernel", "/s/initrd", "init=/x/init a  b", share="nix-store-share", readonly=False)
SHARE = """<filesystem type='mount' accessmode='passthrough'>
      <driver type='{driver}'/><source dir='{source}'/><target dir='nix-store-share'/></filesystem>"""
VIRTIOFS = SHARE.format(driver="virtiofs", source="/nix/store")
DEVICES = "<devices>"


def changed(before: str, after: str) -> list[str]:
    """The lines of a diff that come or go, without their indentation."""
    return [line[0] + line[1:].strip() for line in unified(before, after, "x")[2:] if line[0] in "+-"]


def test_an_installed_machine() -> None:
    """A domain with UEFI, disk and TPM gets nine elements, indented as libvirt does, and loses no letter."""
    after = adopt(UEFI, ADOPTION)
    assert changed(UEFI, after) == [
        "+<memoryBacking>",
        '+<source type="memfd"/>',
        '+<access mode="shared"/>',
        "+</memoryBacking>",
        "+<kernel>/s/kernel</kernel>",
        "+<initrd>/s/initrd</initrd>",
        "+<cmdline>init=/x/init a  b</cmdline>",
        '+<filesystem type="mount" accessmode="passthrough">',
        '+<driver type="virtiofs" queue="1024"/>',
        '+<source dir="/nix/store"/>',
        '+<target dir="nix-store-share"/>',
        "+</filesystem>",
    ]
    indented = etree.fromstring(after, etree.XMLParser(remove_blank_text=True))
    etree.indent(indented)
    assert etree.tostring(indented, encoding="unicode") == after.strip()


def test_where_the_boot_goes() -> None:
    """Firmware, its variables and the order of the disks stay, and the kernel stands where libvirt will print it."""
    system = etree.fromstring(adopt(UEFI, ADOPTION)).find("os")
    assert system is not None
    tags = [str(element.tag) for element in system]
    assert tags == ["type", "loader", "nvram", "kernel", "initrd", "cmdline", "boot", "bootmenu"]


def test_twice_is_once() -> None:
    """An adopted definition is not changed any more, and what it boots is left to the cycles."""
    once = adopt(UEFI, ADOPTION)
    again = adopt(once, replace(ADOPTION, kernel="/other", cmdline="other"))
    assert again == once
    assert adopt(USER, replace(ADOPTION, stores=frozenset({"/nix/store"}))) == adopt(adopt(USER, ADOPTION), ADOPTION)
    assert read(adopt(USER, ADOPTION)).kernel == "/boot/kernel"


def test_huge_pages_and_numa_cells() -> None:
    """Huge pages stay and become shared, without another source; so does the cell that asked for private memory."""
    after = adopt(NUMA, ADOPTION)
    assert [line for line in changed(NUMA, after) if "access" in line or "cell" in line or "source" in line][:3] == [
        '+<access mode="shared"/>',
        '-<cell id="0" cpus="0" memory="1048576" unit="KiB" memAccess="private"/>',
        '+<cell id="0" cpus="0" memory="1048576" unit="KiB" memAccess="shared"/>',
    ]
    assert 'type="memfd"' not in after
    assert "<hugepages>" in after
    assert "<locked/>" in after


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("<memoryBacking/>", ['<source type="memfd"/>', '<access mode="shared"/>']),
        ("<memoryBacking><source type='anonymous'/></memoryBacking>", ['<source type="memfd"/>', "<access"]),
        ("<memoryBacking><source type='file'/></memoryBacking>", ['<source type="file"/>', "<access"]),
        ("<memoryBacking><access mode='private'/></memoryBacking>", ["<source", '<access mode="shared"/>']),
        (
            "<memoryBacking><locked/><discard/></memoryBacking>",
            ["<locked/>", "<source", "<access", "<discard/>"],
        ),
    ],
)
def test_memory(given: str, wanted: list[str]) -> None:
    """What is there is kept, what is missing is added in libvirt's order, and what cannot be shared is replaced."""
    xml = adopt(UEFI.replace("<vcpu", f"{given}<vcpu"), ADOPTION)
    backing = etree.fromstring(xml).find("memoryBacking")
    assert backing is not None
    texts = [etree.tostring(element, encoding="unicode") for element in backing]
    assert len(texts) == len(wanted)
    assert all(text.startswith(start) for text, start in zip(texts, wanted, strict=True))
    assert read(xml).shared_memory


def test_a_read_only_share() -> None:
    """Where libvirt can make virtiofsd refuse writes, it is asked to; a share that is there stays as it is."""
    adoption = replace(ADOPTION, readonly=True)
    assert [share.readonly for share in read(adopt(UEFI, adoption)).shares] == [True]
    there = UEFI.replace(DEVICES, DEVICES + VIRTIOFS)
    assert [share.readonly for share in read(adopt(there, adoption)).shares] == [False]


def test_a_mount_of_the_store_is_the_store() -> None:
    """A share of a folder that is known to be the store (a read-only mount of it, say) is kept."""
    mounted = UEFI.replace(DEVICES, DEVICES + SHARE.format(driver="virtiofs", source="/srv/store"))
    shares = read(adopt(mounted, replace(ADOPTION, stores=frozenset({"/nix/store", "/srv/store"})))).shares
    assert [share.source for share in shares] == ["/srv/store"]


def test_other_shares_stay() -> None:
    """Shares with other tags are nobody's business, even of the store."""
    other = UEFI.replace(DEVICES, DEVICES + VIRTIOFS.replace("nix-store-share", "mine"))
    assert [share.tag for share in read(adopt(other, ADOPTION)).shares] == ["mine", "nix-store-share"]


FEATURES = "<os firmware='efi'><firmware>{}</firmware>"


@pytest.mark.parametrize(
    ("old", "new", "says", "cure"),
    [
        ("readonly='yes' type", "readonly='yes' secure='yes' type", "<loader secure='yes'>", "without secure boot"),
        (
            "<os>",
            FEATURES.format("<feature enabled='yes' name='secure-boot'/>"),
            "<firmware> with the feature secure-boot",
            "virsh edit uefi",
        ),
        ("<os>", FEATURES.format("<feature enabled='yes' name='enrolled-keys'/>"), "<firmware>", "virsh edit uefi"),
        (">hvm<", ">exe<", "<os><type>exe</type>", "QEMU"),
        (
            DEVICES,
            f"{DEVICES}<memory model='dimm' access='private'/>",
            "<memory model='dimm' access='private'>",
            "access='shared'",
        ),
        (
            DEVICES,
            DEVICES + VIRTIOFS + VIRTIOFS,
            "2 <filesystem> with <target dir='nix-store-share'/>",
            "remove all but one",
        ),
        (
            DEVICES,
            DEVICES + SHARE.format(driver="virtiofs", source="/srv"),
            "leads to /srv, not to the store",
            "store.share",
        ),
        (
            DEVICES,
            DEVICES + SHARE.format(driver="path", source="/nix/store"),
            "of the driver path, which is not virtiofs",
            "another tag",
        ),
        (
            DEVICES,
            DEVICES + VIRTIOFS.replace("dir='/nix/store'", "socket='/run/fs.sock'"),
            "leads to /run/fs.sock",
            "another tag",
        ),
        (DEVICES, DEVICES + VIRTIOFS.replace("<source dir='/nix/store'/>", ""), "leads to nothing", "another tag"),
    ],
)
def test_what_stands_against_it(old: str, new: str, says: str, cure: str) -> None:
    """Each obstacle is named by its element, with what to do about it."""
    assert old in UEFI
    with pytest.raises(DomainError) as caught:
        adopt(UEFI.replace(old, new, 1), ADOPTION)
    assert caught.value.message.startswith("domain uefi has ")
    assert says in caught.value.message
    assert cure in (caught.value.hint or "")


def test_a_firmware_without_keys() -> None:
    """A firmware that could do secure boot, and knows no keys, boots every kernel."""
    features = FEATURES.format(
        "<feature enabled='no' name='enrolled-keys'/><feature enabled='yes' name='secure-boot'/>"
    )
    secure = UEFI.replace("<os>", features).replace("readonly='yes' type", "readonly='yes' secure='yes' type")
    assert read(adopt(secure, ADOPTION)).boots_directly


def test_a_bare_domain() -> None:
    """Even one without devices, on one line, gets everything."""
    facts = read(adopt("<domain><name>n</name><memory>1</memory><os><type>hvm</type></os></domain>", ADOPTION))
    assert (facts.kernel, facts.shared_memory) == ("/s/kernel", True)
    assert facts.share("nix-store-share") is not None


def test_nothing_else_counts_as_changed() -> None:
    """What libvirt's reading of its own text moves is the same; so is another boot, where that is asked for."""
    after = adopt(UEFI, ADOPTION)
    assert same_but_boot(after, after.replace("/s/kernel", "/other").replace("init=/x/init", "y"))
    assert not same(after, after.replace("/s/kernel", "/other"))
    assert not same_but_boot(UEFI, after)


@pytest.mark.parametrize(
    ("xml", "holds"),
    [
        ("<domainsnapshot><state>shutoff</state><memory snapshot='no'/></domainsnapshot>", False),
        ("<domainsnapshot><state>running</state><memory snapshot='internal'/></domainsnapshot>", True),
        ("<domainsnapshot><state>running</state><memory snapshot='external' file='/m'/></domainsnapshot>", True),
        ("<domainsnapshot><state>disk-snapshot</state><memory snapshot='no'/></domainsnapshot>", False),
        ("<domainsnapshot><state>running</state></domainsnapshot>", True),
        ("<domainsnapshot><state>shutoff</state></domainsnapshot>", False),
    ],
)
def test_snapshots_with_memory(xml: str, *, holds: bool) -> None:
    """Those of a running machine hold its memory, those of disks do not."""
    assert holds_memory(xml) is holds
