"""The guest's console, through libvirt's stream: followed line by line, or joined by a terminal."""

from nixvm_loop.console.follow import Follower, follow
from nixvm_loop.console.terminal import ESCAPE, Ended, interact

__all__ = ["ESCAPE", "Ended", "Follower", "follow", "interact"]
