"""Where the kernel gives no notice, saves are found all the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.watch.conftest import Kit

_PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from nixvm_loop.model.clock import SystemClock
from nixvm_loop.model.settings import WatchSettings
from nixvm_loop.model.sources import SourceKind, SourceRoot
from nixvm_loop.watch import Watcher

async def main():
    root, notices = Path(sys.argv[1]), []
    sources = (SourceRoot(root, SourceKind.GIT),)
    async with Watcher(sources, WatchSettings(), clock=SystemClock(), emit=notices.append) as watcher:
        await watcher.start()
        (root / "modules/a.nix").write_text("1")
        changes = await asyncio.wait_for(watcher.next(), 20)
    print(json.dumps([[n.message, n.hint] for n in notices] + [list(map(str, changes.paths))]))

asyncio.run(main())
"""


@pytest.mark.parametrize(("limit", "most"), [("max_inotify_watches", 2), ("max_inotify_instances", 0)])
def test_without_inotify_the_tree_is_polled(repo: Kit, limit: str, most: int) -> None:
    """In a namespace with hardly any inotify, the user is told how to raise the limit, and saves are seen."""
    script = f'echo {most} > /proc/sys/user/{limit} && exec "$@"'
    namespace = ("unshare", "--user", "--map-root-user", "sh", "-c", script, "sh")
    if subprocess.run([*namespace, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine lets nobody make a user namespace")
    ran = subprocess.run(
        [*namespace, sys.executable, "-c", _PROGRAM, str(repo.root)],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    (notice, changes) = json.loads(ran.stdout)
    assert "does not tell us of changes" in notice[0]
    assert "fs.inotify.max_user_watches" in notice[1]
    assert changes == [str(repo.root / "modules/a.nix")]
