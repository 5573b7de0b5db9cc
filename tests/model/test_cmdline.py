from __future__ import annotations

import pytest

from nixvm_loop.model.cmdline import as_given


@pytest.mark.parametrize(
    ("seen", "given"),
    [
        ("init=/x quiet initrd=initrd", "init=/x quiet"),
        ("init=/x quiet initrd=initrd \n", "init=/x quiet"),
        ("init=/x quiet", "init=/x quiet"),
        ("initrd=initrd init=/x", "initrd=initrd init=/x"),
        ("init=/x myinitrd=initrd", "init=/x myinitrd=initrd"),
        ("init=/x initrd=initrd.img", "init=/x initrd=initrd.img"),
    ],
)
def test_the_firmwares_word(seen: str, given: str) -> None:
    """What UEFI firmware adds at the end of a direct boot's command line is no difference; anything else is one."""
    assert as_given(seen) == given
