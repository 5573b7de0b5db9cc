"""The only caller of Nix: evaluate, build, and read what was built; what a flake is made of on this machine."""

from nixvm_loop.nix.queries import Revision, closure, revision
from nixvm_loop.nix.run import build
from nixvm_loop.nix.sources import missing_lock, own_root, source_roots
from nixvm_loop.nix.system import read_artifacts

__all__ = ["Revision", "build", "closure", "missing_lock", "own_root", "read_artifacts", "revision", "source_roots"]
