from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from nixvm_loop.domain import beside

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

# QEMU's own log after its virtiofsd and then it itself were killed, without most of the command line.
LOG = """2026-11-23 12:50:31.301+0000: starting up libvirt version: 9.0.0, qemu version: 7.2.22Debian 1:7.2
LC_ALL=C \\
PATH=/usr/bin \\
/usr/bin/qemu-system-x86_64 \\
-msg timestamp=on
2026-11-23 12:50:31.428+0000: Domain id=5 is tainted: custom-argv
char device redirected to /dev/pts/2 (label charserial0)
2026-11-23T12:53:24.047539Z qemu-system-x86_64: Unexpected end-of-file before all data were read
2026-11-23 12:53:37.368+0000: shutting down, reason=crashed
"""


def test_the_end_of_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written at every start and end is left out; a log that is not there is no lines."""
    monkeypatch.setattr(beside, "LOG_FOLDER", tmp_path)
    (tmp_path / "demo.log").write_text(LOG)
    assert beside.log_end("demo", beside.QEMU) == (
        f"{tmp_path}/demo.log:",
        "2026-11-23T12:53:24.047539Z qemu-system-x86_64: Unexpected end-of-file before all data were read",
    )
    assert beside.log_end("demo", beside.VIRTIOFSD) == ()


async def test_the_end_of_a_share_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A domain's virtiofsd is found by libvirt's file, its death known then and later; nobody else's number counts."""
    program = tmp_path / "virtiofsd"
    # A script's process has the script's name; this one waits without becoming another program.
    program.write_text("#!/bin/sh\nread -r _\n")
    program.chmod(0o700)
    one = await asyncio.create_subprocess_exec(program, stdin=asyncio.subprocess.PIPE)
    other = await asyncio.create_subprocess_exec("sleep", "60")
    try:
        (tmp_path / "7-demo-fs0-fs.pid").write_text(f"{one.pid}\n")
        (tmp_path / "7-demo-fs1-fs.pid").write_text(f"{other.pid}\n")
        (tmp_path / "8-demo-fs0-fs.pid").write_text(f"{one.pid}\n")
        monkeypatch.setattr(beside, "_RUN_FOLDERS", (str(tmp_path),))
        assert beside.share_processes(7) == (one.pid,)
        assert beside.share_processes(9) == ()
        ending = asyncio.create_task(beside.one_ends(beside.share_processes(7)))
        await asyncio.sleep(0.05)
        assert not ending.done()
        one.kill()
        await asyncio.wait_for(ending, 1)
        await one.wait()
        assert beside.share_processes(7) == (one.pid,)
        await asyncio.wait_for(beside.one_ends(beside.share_processes(7)), 1)
    finally:
        for process in (one, other):
            if process.returncode is None:
                process.kill()
            await process.wait()
