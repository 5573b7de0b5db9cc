"""The kernel command line of a generation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nixvm_loop.model.values import Artifacts

# OVMF adds it to what it boots directly, so that the kernel takes the initrd from the firmware.
_FIRMWARES_WORD: Final = " initrd=initrd"


def command_line(artifacts: Artifacts, extra: Iterable[str]) -> str:
    """The system's own parameters, what the config adds unless it is there, and exactly one `init=`."""
    own = [word for word in artifacts.kernel_params if not word.startswith("init=")]
    added = [word for word in extra if word not in own and not word.startswith("init=")]
    return " ".join([f"init={artifacts.toplevel}/init", *own, *added])


def without_init(cmdline: str) -> tuple[str, ...]:
    """The parameters that a change of which is worth naming."""
    return tuple(word for word in cmdline.split() if not word.startswith("init="))


def as_given(seen: str) -> str:
    """The command line that a domain was started with, from the one that its guest's kernel saw."""
    return seen.rstrip().removesuffix(_FIRMWARES_WORD)
