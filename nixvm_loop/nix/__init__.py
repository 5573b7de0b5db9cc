"""The only caller of Nix: evaluate, build, and read what was built; what a flake is made of on this machine."""

from nixvm_loop.nix.names import names_in
from nixvm_loop.nix.queries import NIX_ENV, Revision, closure, registration, revision
from nixvm_loop.nix.run import build
from nixvm_loop.nix.sources import missing_lock, own_root, source_roots
from nixvm_loop.nix.system import read_artifacts
from nixvm_loop.nix.traits import read_system

__all__ = [
    "NIX_ENV",
    "Revision",
    "build",
    "closure",
    "missing_lock",
    "names_in",
    "own_root",
    "read_artifacts",
    "read_system",
    "registration",
    "revision",
    "source_roots",
]
