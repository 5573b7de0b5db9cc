from __future__ import annotations

from pathlib import Path

import pytest

from nixvm_loop.domainxml import differences, read, with_boot
from nixvm_loop.errors import DomainError

FIXTURES = Path(__file__).parents[1] / "fixtures" / "libvirt"


@pytest.mark.parametrize("version", ["9.0", "11.3"])
def test_changes_the_boot_and_nothing_else(version: str) -> None:
    """Only the three texts differ; every other line stays to the letter."""
    before = (FIXTURES / f"user-{version}.xml").read_text()
    after = with_boot(before, kernel="/s/kernel", initrd="/s/initrd", cmdline='init=/new/init a="b c" <&>')
    facts = read(after)
    assert (facts.kernel, facts.initrd) == ("/s/kernel", "/s/initrd")
    assert facts.cmdline == 'init=/new/init a="b c" <&>'
    pairs = zip(before.splitlines()[1:], after.splitlines()[1:], strict=True)
    changed = [new.strip().partition(">")[0] for old, new in pairs if old.replace("'", '"') != new.replace("'", '"')]
    assert changed == ["<kernel", "<initrd", "<cmdline"]


def test_keeps_comments_and_namespaces() -> None:
    """A comment before the domain, one inside it and a foreign namespace are still there."""
    after = with_boot((FIXTURES / "user.xml").read_text(), kernel="/k", initrd="/i", cmdline="c")
    assert after.startswith("<!-- A domain as somebody might write it by hand")
    assert "<!-- the initrd that goes with it -->" in after
    assert '<note:by xmlns:note="urn:example:note">somebody</note:by>' in after
    assert after.count("qemu:arg") == 4


def test_adds_what_is_missing() -> None:
    """A direct boot without initrd and command line gets both, in libvirt's order."""
    after = with_boot(
        "<domain><name>n</name><os>\n  <kernel>/old</kernel>\n</os></domain>", kernel="/k", initrd="/i", cmdline="c"
    )
    assert "<os>\n  <kernel>/k</kernel>\n<initrd>/i</initrd>\n<cmdline>c</cmdline>\n</os>" in after


@pytest.mark.parametrize("system", ["", "<os><boot dev='hd'/></os>", "<os><kernel> </kernel></os>"])
def test_refuses_a_domain_that_boots_otherwise(system: str) -> None:
    """A domain without <kernel> is refused, and the hint names the way out."""
    with pytest.raises(DomainError, match="does not boot a kernel directly") as caught:
        with_boot(f"<domain><name>disk</name>{system}</domain>", kernel="/k", initrd="/i", cmdline="c")
    assert "nixvm-loop adopt disk" in str(caught.value.hint)
    assert caught.value.exit_code == 5


def test_names_what_differs() -> None:
    """Another boot is three differences, in words."""
    before = (FIXTURES / "user-9.0.xml").read_text()
    assert differences(before, before) == ()
    assert differences(before, with_boot(before, kernel="/k", initrd="/boot/initrd", cmdline="c")) == (
        "os/kernel: /boot/kernel becomes /k",
        "os/cmdline: init=/old/init quiet becomes c",
    )
