"""Records what `nix build` says about the trees in tests/fixtures/nix/trees, for the parsers' tests.

    NIXPKGS_LIB=FOLDER [NIX=PROGRAM] scripts/world run -- .venv/bin/python tests/recorders/nix_logs.py [NAME...]

FOLDER is a checkout of https://github.com/nix-community/nixpkgs.lib; nothing of it is kept, not even excerpts.
The logs land in tests/fixtures/nix/<version of Nix>/NAME.log with the tree's folder written as /tree, the checkout's as
/nixpkgs-lib. The store must be new (a world's is): what is built already is not built again.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FIXTURES = Path(__file__).parents[1] / "fixtures" / "nix"
NIX = os.environ.get("NIX", "nix")
LIB = os.environ.get("NIXPKGS_LIB")
UNTRACKED = {"untracked": "guest.nix", "untracked-folder": "modules", "untracked-flake": "flake.nix"}
NIX_CONFIG = "sandbox = false\nbuild-users-group =\nsubstituters =\n"
EXCERPT = re.compile(rb"\\n +\d*\|(?:[^\"\\]|\\[^n])*")
CONFIGURATION = "nixosConfigurations.demo.config.system.build.toplevel"
IDENTITY = ("-c", "user.name=recorder", "-c", "user.email=recorder@example.org", "-c", "commit.gpgsign=false")


def git(tree: Path, *arguments: str) -> None:
    """Run git in `tree`."""
    subprocess.run(["git", *IDENTITY, *arguments], cwd=tree, check=True, capture_output=True)


def checkout(name: str, parent: Path) -> Path:
    """A git checkout of the tree `name`, committed but for what the scenario leaves untracked."""
    tree = parent / name
    shutil.copytree(FIXTURES / "trees" / name, tree)
    git(tree, "init", "-q")
    git(tree, "add", ".")
    if name in UNTRACKED:
        git(tree, "rm", "-rq", "--cached", UNTRACKED[name])
    git(tree, "commit", "-qm", "recorded", "--allow-empty")
    return tree


def record(name: str, parent: Path, folder: Path) -> None:
    """Build one tree and keep the log."""
    tree = checkout(name, parent)
    inputs = ["--override-input", "nixpkgs", f"path:{LIB}"] if name.startswith("module-") else []
    command = [NIX, "build", "--extra-experimental-features", "nix-command flakes", "--json", "--no-write-lock-file"]
    command += ["--log-format", "internal-json", "--show-trace", "--no-link", f"{tree}#{CONFIGURATION}", *inputs]
    env = {**os.environ, "NIX_CONFIG": NIX_CONFIG}
    env.pop("IN_SYSTEMD", None)
    done = subprocess.run(command, check=False, env=env, cwd=parent, capture_output=True)
    log = done.stderr.replace(str(tree).encode(), b"/tree").replace(str(LIB).encode(), b"/nixpkgs-lib")
    log = EXCERPT.sub(b"", log) if inputs else log
    (folder / f"{name}.log").write_bytes(log)
    print(f"{name}: exit {done.returncode}, {len(log)} bytes")


def main() -> None:
    """Record the scenarios named on the command line, or all."""
    version = subprocess.run([NIX, "--version"], check=True, capture_output=True, text=True).stdout
    match = re.search(r"(\d+\.\d+)", version)
    if match is None or LIB is None:
        sys.exit("set NIXPKGS_LIB, and NIX if it is not on PATH")
    folder = FIXTURES / match[1]
    folder.mkdir(parents=True, exist_ok=True)
    names = sys.argv[1:] or sorted(path.name for path in (FIXTURES / "trees").iterdir())
    with tempfile.TemporaryDirectory() as parent:
        for name in names:
            record(name, Path(parent), folder)


if __name__ == "__main__":
    main()
