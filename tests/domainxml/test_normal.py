from __future__ import annotations

from pathlib import Path

from nixvm_loop.domainxml.normal import same, unified, without_secrets

UEFI = (Path(__file__).parents[1] / "fixtures" / "libvirt" / "uefi-9.0.xml").read_text()
RNG = UEFI[UEFI.index("    <rng") : UEFI.index("</rng>") + 7]


def test_the_order_of_devices_does_not_count() -> None:
    """A device that libvirt prints elsewhere is the same, one that is gone is not."""
    without = UEFI.replace(RNG, "")
    assert same(UEFI, without.replace("<devices>\n", f"<devices>\n{RNG}"))
    assert not same(UEFI, without)


def test_the_order_elsewhere_counts() -> None:
    """Two elements of <os> that are swapped are a change."""
    swapped = UEFI.replace("<boot dev='hd'/>", "<boot dev='network'/><boot dev='hd'/>")
    assert not same(
        swapped, swapped.replace("<boot dev='network'/><boot dev='hd'/>", "<boot dev='hd'/><boot dev='network'/>")
    )


def test_secrets_are_not_shown() -> None:
    """Neither the shown definition nor a diff around it says a password."""
    assert "secret" in UEFI
    assert "secret" not in without_secrets(UEFI)
    lines = unified(UEFI, UEFI.replace("<listen type='address'/>", ""), "uefi")
    assert any("*****" in line for line in lines)
    assert not any("secret" in line for line in lines)


def test_no_difference_has_no_lines() -> None:
    """The diff of a definition with itself, in other quotes, is empty."""
    assert unified(UEFI, without_secrets(UEFI), "uefi") == ()
