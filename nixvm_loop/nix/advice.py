"""What to do about failures that Nix explains in its own words only, as data: a pattern of its message and the fix."""

from __future__ import annotations

import re
from typing import Final

_FIXES: Final[dict[str, str]] = {
    r"is not part of a flake|does not contain a '?[^ ]*flake\.nix": "`flake` must name a folder with a flake.nix",
    r"path 'flake\.nix' does not exist|-source/flake\.nix'?(:| does)": "`flake` must name a folder with a flake.nix",
    r"cannot connect to socket|daemon.*(refused|disconnected)": "start Nix's daemon: systemctl start nix-daemon",
    r"No space left on device": "make room, for instance: nix-collect-garbage --delete-older-than 7d",
    r"hash mismatch in": "if the new content is right, write the hash after `got:` into the file",
    r"failed due to signal 9|Cannot allocate memory|[Oo]ut of memory|std::bad_alloc": (
        'the machine ran out of memory; fewer jobs at a time may help: build.options = ["--max-jobs", "1"]'
    ),
    r"experimental (Nix )?feature '?[\w-]+'? is disabled": (
        'allow it: build.options = ["--extra-experimental-features", "NAME"]'
    ),
    r"unable to download|[Cc]ould ?n.?[o']?t resolve|Could not connect to server": (
        'check the network; if everything is at hand: build.options = ["--offline"]'
    ),
    r"in pure eval(uation)? mode|in restricted mode": (
        'make it an input of the flake, or allow it: build.options = ["--impure"]'
    ),
    r"is not owned by current user": "git config --global --add safe.directory FOLDER",
    r"(/nix/store|/nix/var/nix)[^\n]*Permission denied": "this user may not write the store: use Nix's daemon",
    r"is required to build|required to build '[^']*', but I am": "this machine does not build for the guest's system",
    r"executing 'git'|program 'git'": "install git: Nix reads the flake with it",
    r"is not a valid URL": "Nix cannot read this flake reference; a path without spaces works everywhere",
    r"stack overflow|infinite recursion": "something is defined by way of itself; what was edited last comes first",
    r"do not change during evaluation": "save once more",
}
_LONGEST_TEXT: Final = 20_000
_COMPILED: Final = tuple((re.compile(pattern), fix) for pattern, fix in _FIXES.items())


def advice(text: str) -> str | None:
    """The fix for a message, if it is a known one."""
    return next((fix for pattern, fix in _COMPILED if pattern.search(text[:_LONGEST_TEXT])), None)
