"""How long short commands take, start of the interpreter included."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

from benchlib.desk import created
from benchlib.tool import command, environment

if TYPE_CHECKING:
    from pathlib import Path

    from benchlib.series import Series

TIMES: Final = 20


def measure(top: Path, series: Series) -> None:
    """Run them in turns."""
    desk = created(top, "starts")
    commands = {"pass": [sys.executable, "-c", "pass"], "help": command("--help"), "status": command("status")}
    for number in range(TIMES + 1):
        for name, argv in commands.items():
            began_s = time.monotonic()
            subprocess.run(argv, cwd=desk.folder, env=environment(), capture_output=True, check=True)
            # The first time, files come from the disk.
            if number:
                series.add(name, time.monotonic() - began_s)
