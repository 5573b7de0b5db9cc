"""Standard input, output and error as we were given them: any may be closed."""

from __future__ import annotations

import os
import sys
from typing import Final

_STREAMS: Final = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def open_missing() -> None:
    """Put /dev/null in the place of those that are closed, before a file of ours can take their descriptors."""
    for name, mode in _STREAMS:
        if getattr(sys, name) is None:
            # The lowest free descriptor, which is the missing one.
            descriptor = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, mode, closefd=False))
