"""Save -> nix started, over many saves in a running `watch`."""

from __future__ import annotations

import os
import random
import shutil
import stat
import time
from typing import TYPE_CHECKING, Final

from benchlib.desk import Desk, created, replace
from benchlib.tool import BenchError, Tool

if TYPE_CHECKING:
    from pathlib import Path

    from benchlib.series import Series

SAVES: Final = 40
_REST_S: Final = (0.2, 0.5)

# It writes the time, then becomes the real nix. Starting bash counts against nixvm-loop: about 2 ms.
_NIX: Final = """\
#!/bin/bash
printf '%s %s\\n' "$EPOCHREALTIME" "$*" >>"{log}"
exec {nix} "$@"
"""


def measure(top: Path, series: Series) -> None:
    """Save a file that does not parse, again and again: nix starts, and the guest is left alone."""
    desk = created(top, "saves")
    log = desk.folder / "nix-starts"
    tool = Tool(desk.folder, "watch", extra_env={"PATH": f"{_wrapper(desk, log)}:{os.environ['PATH']}"})
    try:
        tool.until(lambda arrival: arrival.is_a("cycle_finished"))
        for number in range(SAVES):
            # Not in step with anything that the watch does by itself.
            time.sleep(random.uniform(*_REST_S))  # noqa: S311  # no secret
            log.write_text("", encoding="utf-8")
            text = desk.edited(f'" oops {number}')
            saved = time.time()
            replace(desk.configuration, text)
            tool.cycle("failed")
            series.add("save to nix", _first_build(log) - saved)
    finally:
        tool.stop()


def _wrapper(desk: Desk, log: Path) -> Path:
    nix = shutil.which("nix")
    folder = desk.folder / "bin"
    folder.mkdir()
    program = folder / "nix"
    program.write_text(_NIX.format(log=log, nix=nix), encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return folder


def _first_build(log: Path) -> float:
    for line in log.read_text(encoding="utf-8").splitlines():
        at, _, arguments = line.partition(" ")
        if " build " in arguments:
            return float(at)
    raise BenchError("nix was not started")
