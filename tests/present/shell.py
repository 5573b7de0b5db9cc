"""A real shell with job control on a real terminal, to type into."""

from __future__ import annotations

import os
import pty
import select
import struct
import subprocess
import termios
import time
from contextlib import contextmanager
from fcntl import ioctl
from typing import TYPE_CHECKING, Self

from tests.present.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BASH = ("setsid", "--ctty", "bash", "--norc", "--noprofile", "--noediting", "-i")
PATIENCE_S = 15.0


class Shell:
    """What stands on its terminal is in `screen`."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self.screen = Screen(80, 24)

    @classmethod
    @contextmanager
    def opened(cls, folder: Path, environment: dict[str, str]) -> Iterator[Self]:
        """A shell that has shown its prompt; it is gone at the end, with its jobs."""
        ours, its = pty.openpty()
        ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        env = os.environ | {"TERM": "xterm", "PS1": "$ ", "HISTFILE": "/dev/null"} | environment
        process = subprocess.Popen(BASH, stdin=its, stdout=its, stderr=its, cwd=folder, env=env)
        os.close(its)
        try:
            shell = cls(ours)
            shell.until(lambda: shell.screen.shown().endswith("$"))
            yield shell
        finally:
            os.close(ours)  # which hangs up
            process.wait(PATIENCE_S)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._terminal, keys.encode())

    def read(self, seconds: float = 0.3) -> str:
        """What is written until there is silence for so long."""
        found = b""
        while select.select([self._terminal], [], [], seconds)[0]:
            found += os.read(self._terminal, 65536)
        text = found.decode().replace("\r\n", "\n")
        self.screen.feed(text)
        return text

    def until(self, condition: object) -> None:
        """Read on until the condition holds."""
        assert callable(condition)
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, self.screen.whole()
            self.read(0.05)

    def shows(self, text: str) -> None:
        """Wait until the text is visible."""
        self.until(lambda: text in self.screen.shown())

    def modes(self) -> tuple[bool, bool]:
        """Whether keys are echoed, and whether they come as whole lines."""
        flags = termios.tcgetattr(self._terminal)[3]
        return bool(flags & termios.ECHO), bool(flags & termios.ICANON)
