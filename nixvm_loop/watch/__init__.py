"""What the build can see of the file system, watched: from saves to change sets. The only user of watchfiles."""

from __future__ import annotations

from nixvm_loop.watch.watcher import Watched, Watcher

__all__ = ["Watched", "Watcher"]
