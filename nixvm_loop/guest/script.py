"""Scripts for the guest's shell: their settings and paths in front, and how they get there."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

# dropbear takes command lines of up to 9,000 bytes; longer lists of paths come by standard input.
_COMMAND_LIMIT_BYTES: Final = 8_000
_PATHS_FROM_INPUT: Final = "set -f\nset -- $(cat)\nset +f"


# A guest's sshd may know no programs. What the shell gets by its standard input is not seen in a list of processes.
_PATH: Final = "PATH=$PATH:/run/current-system/sw/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_READING: Final = f"exec /bin/sh -c '{_PATH}; eval \"$({{}})\"'"
WAITING_SHELL: Final = _READING.format("cat")
"""A shell that reads a script to the end of its standard input, and runs it."""


def waiting_for(script: bytes) -> str:
    """A shell that runs this script, which comes by standard input; what follows it there is the script's own."""
    return _READING.format(f"head -c {len(script)}")


class Reader(Enum):
    """Which shell reads a script: starting a second one costs time, but a login shell may be an unusual one."""

    LOGIN_SHELL = "login shell"
    SH = "sh"


@dataclass(frozen=True, slots=True)
class Script:
    """A script of this package, its settings, and the store paths that are its positional parameters.

    Attributes:
        then: What the same shell reads next, with the same parameters.
    """

    file: str
    settings: Mapping[str, str]
    mount_point: str
    paths: tuple[str, ...] = ()
    then: Script | None = None

    @property
    def whole(self) -> str:
        """All of it, for a shell that reads it from standard input."""
        return self.text(f"set -- {self._names}")

    def command(self, reader: Reader) -> str:
        """The command line for the guest."""
        text = self.text(_PATHS_FROM_INPUT) if self.stdin else self.whole
        return text if reader is Reader.LOGIN_SHELL else f"exec /bin/sh -c {shlex.quote(text)}"

    @property
    def stdin(self) -> bytes:
        """What the command reads: the paths, unless the command line has room for them."""
        if len(self.whole) <= _COMMAND_LIMIT_BYTES:
            return b""
        return "\n".join(self._short_paths).encode()

    @property
    def _names(self) -> str:
        return " ".join(shlex.quote(path) for path in self._short_paths)

    @property
    def _short_paths(self) -> tuple[str, ...]:
        # They are looked up from within the folder, which is faster as well.
        return tuple(path.removeprefix(f"{self.mount_point}/") for path in self.paths)

    def text(self, paths: str = "") -> str:
        """What the shell reads, with the lines that set its positional parameters in `paths`."""
        assignments = [f"{name}={shlex.quote(value)}" for name, value in self.settings.items()]
        following = () if self.then is None else (self.then.text(),)
        return "\n".join([*assignments, paths, _text_of(self.file), *following])


@cache
def _text_of(file: str) -> str:
    text = resources.files("nixvm_loop.guest").joinpath(file).read_text(encoding="utf-8")
    return "".join(line for line in text.splitlines(keepends=True) if line.strip() and not line.startswith("#"))
