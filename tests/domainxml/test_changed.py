from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from nixvm_loop.domainxml.changed import changed_since
from nixvm_loop.domainxml.normal import same_but_boot

UEFI = (Path(__file__).parents[1] / "fixtures" / "libvirt" / "uefi-9.0.xml").read_text()
RNG = UEFI[UEFI.index("    <rng") : UEFI.index("</rng>") + 7]
DISK = "<disk type='file' device='cdrom'><source file='/a.iso'/><target dev='{}' bus='sata'/></disk>"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("", "", ()),
        ("<boot dev='hd'/>", "<kernel>/k</kernel><cmdline>c</cmdline><boot dev='hd'/>", ()),
        ("2097152</memory>", "4194304</memory>", ("memory: 2097152 became 4194304",)),
        (RNG, "", ("devices/rng virtio was removed",)),
        ("    <rng", "    <watchdog model='i6300esb'/>\n    <rng", ("devices/watchdog i6300esb was added",)),
        ("passwd='secret'", "passwd='another'", ("devices/graphics passwd is another",)),
        ("passwd='secret'", "", ("devices/graphics passwd is another",)),
        ("<acpi/>", "<acpi/><hap state='off'/>", ("features/hap was added",)),
        ("<vcpu placement='static'>", "<vcpu>", ("vcpu placement: static was removed",)),
        ("<vcpu placement='static'>", "<vcpu placement='static' current='1'>", ("vcpu current: 1 was added",)),
        ("<boot dev='hd'/>", "<boot dev='hd'/><boot dev='network'/>", ("os/boot network was added",)),
        (
            "<rng model='virtio'>",
            "<rng model='virtio-transitional'>",
            ("devices/rng model: virtio became virtio-transitional",),
        ),
    ],
)
def test_what_others_changed(old: str, new: str, words: tuple[str, ...]) -> None:
    """Each attribute, text and element is told by what became of it; what a cycle sets by itself is none."""
    assert old in UEFI
    assert changed_since(UEFI, UEFI.replace(old, new, 1) if old else UEFI) == words


def test_the_order_of_what_boots() -> None:
    """Elements that changed places are told, outside the devices, whose order libvirt changes by itself."""
    two = UEFI.replace("<boot dev='hd'/>", "<boot dev='hd'/><boot dev='cdrom'/>")
    swapped = UEFI.replace("<boot dev='hd'/>", "<boot dev='cdrom'/><boot dev='hd'/>")
    assert changed_since(two, swapped) == ("os: its elements were put in another order",)
    assert changed_since(UEFI.replace(RNG, ""), UEFI.replace(RNG, "").replace("<devices>", f"<devices>{RNG}")) == (
        "devices/rng virtio was added",
    )


def test_one_of_several() -> None:
    """A device is told by the name that it has for its user, and compared with its namesake, wherever that is."""
    one, two = DISK.format("sda"), DISK.format("sdb")
    before = UEFI.replace("<devices>", f"<devices>{one}{two}")
    after = UEFI.replace("<devices>", f"<devices>{two.replace('a.iso', 'b.iso')}{one}")
    assert changed_since(before, after) == ("devices/disk sdb/source file: /a.iso became /b.iso",)
    assert changed_since(before, UEFI.replace("<devices>", f"<devices>{one}")) == ("devices/disk sdb was removed",)
    assert changed_since(before, before.replace(one, one + one)) == ("devices/disk sda was added",)


@given(st.data())
def test_nothing_is_lost_unsaid(data: st.DataObject) -> None:
    """Whatever is done to an element, something is told exactly when the definition does not say the same any more."""
    root = etree.fromstring(UEFI)
    elements = [element for element in root.iter() if isinstance(element.tag, str) and element is not root]
    element = data.draw(st.sampled_from(elements))
    parent = element.getparent()
    assert parent is not None
    match data.draw(st.sampled_from(["remove", "twice", "last", "attribute", "text"])):
        case "remove":
            parent.remove(element)
        case "twice":
            parent.insert(0, etree.fromstring(etree.tostring(element)))
        case "last":
            parent.append(element)
        case "attribute":
            key = data.draw(st.sampled_from([*element.keys(), "new"]))
            element.set(key, "other")
        case _:
            element.text = "other"
    now = etree.tostring(root, encoding="unicode")
    assert bool(changed_since(UEFI, now)) is not same_but_boot(UEFI, now)
