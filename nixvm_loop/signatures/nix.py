"""What Nix says when it cannot evaluate or build, where its own words do not say what to do."""

from __future__ import annotations

from typing import Final

from nixvm_loop.signatures.pattern import Source, signature

NIX: Final = (
    signature(
        "no-flake",
        Source.NIX,
        r"is not part of a flake|does not contain a '?[^ ]*flake\.nix|path 'flake\.nix' does not exist"
        r"|-source/flake\.nix'?(?: does|: No such)",
        "there is no flake where the config says",
        "`flake` must name a folder with a flake.nix",
    ),
    signature(
        "untracked-file",
        Source.NIX,
        r"[Pp]ath '(?P<name>[^']+)' in the repository [\"'][^\"']+[\"'] is not tracked"
        # As nixvm-loop itself puts it, for versions of Nix that say less.
        r"|(?P<ours>[^\s:]+) is not tracked by git",
        "{name}{ours} is not tracked by git, so Nix does not see it",
        "git add -N {name}{ours}",
    ),
    signature(
        "nix-daemon",
        Source.NIX,
        r"cannot connect to socket|daemon.*(refused|disconnected)",
        "Nix's daemon does not answer",
        "start Nix's daemon: systemctl start nix-daemon",
    ),
    signature(
        "disk-full",
        Source.NIX,
        r"No space left on device|database or disk is full",
        "the disk is full",
        "make room, for instance: nix-collect-garbage --delete-older-than 7d",
    ),
    signature(
        "hash-mismatch",
        Source.NIX,
        r"hash mismatch in",
        "what was fetched is not what the flake says it is",
        "if the new content is right, write the hash after `got:` into the file",
    ),
    signature(
        "build-memory",
        Source.NIX,
        r"failed due to signal 9|Cannot allocate memory|[Oo]ut of memory|std::bad_alloc",
        "the machine ran out of memory",
        'the machine ran out of memory; fewer jobs at a time may help: build.options = ["--max-jobs", "1"]',
    ),
    signature(
        "nix-feature",
        Source.NIX,
        r"experimental (Nix )?feature '?[\w-]+'? is disabled",
        "the flake needs a feature of Nix that is not enabled",
        'allow it: build.options = ["--extra-experimental-features", "NAME"]',
    ),
    signature(
        "download-failed",
        Source.NIX,
        r"unable to download|[Cc]ould ?n.?[o']?t resolve|Could not connect to server",
        "Nix could not download something",
        'check the network; if everything is at hand: build.options = ["--offline"]',
    ),
    signature(
        "impure",
        Source.NIX,
        r"in pure eval(uation)? mode|in restricted mode",
        "the flake reads what is not part of it",
        'make it an input of the flake, or allow it: build.options = ["--impure"]',
    ),
    signature(
        "foreign-repository",
        Source.NIX,
        r"is not owned by current user|detected dubious ownership",
        "git does not trust the flake's repository, which is another user's",
        "git config --global --add safe.directory FOLDER",
    ),
    signature(
        "store-forbidden",
        Source.NIX,
        r"'?(?:/nix/store|/nix/var/nix)[^\n]*(?:Permission denied|Operation not permitted)",
        "this user may not write the store",
        "this user may not write the store: use Nix's daemon",
    ),
    signature(
        "other-system",
        Source.NIX,
        r"is required to build|required to build '[^']*', but I am",
        "the guest is for another processor or system than this machine builds for",
        "this machine does not build for the guest's system",
    ),
    signature(
        "no-git",
        Source.NIX,
        r"executing 'git': No such|program 'git' not found",
        "git is not installed",
        "install git: Nix reads the flake with it",
    ),
    signature(
        "flake-url",
        Source.NIX,
        r"is not a valid URL",
        "Nix cannot read the flake reference",
        "Nix cannot read this flake reference; a path without spaces works everywhere",
    ),
    signature(
        "endless-recursion",
        Source.NIX,
        r"stack overflow|infinite recursion",
        "something is defined by way of itself",
        "something is defined by way of itself; what was edited last comes first",
    ),
    signature(
        "changed-meanwhile",
        Source.NIX,
        r"do not change during evaluation",
        "a file changed while Nix read it",
        "save once more",
    ),
)
