"""Copies of nixpkgs, and what real Nix says of a NixOS made of one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

HERE: Final = Path(__file__).resolve().parent
TOP: Final = HERE.parent.parent
GUEST_MODULE: Final = str(TOP / "nix/guest-virtiofs.nix")
HOST_MODULE: Final = str(TOP / "nix/host-virtiofs.nix")
TEMPLATE: Final = TOP / "nix/template"
_TIMEOUT_S: Final = 300
# What the stand-in has of its own, or what makes a name no package.
_NOT_PACKAGES: Final = {
    *("bin", "config", "dev", "doc", "drvPath", "extend", "lib", "man", "meta", "name", "out", "outPath"),
    *("override", "overrideAttrs", "passthru", "pname", "version"),
}
_SHELLS: Final = ("bash", "fish", "xonsh", "zsh")


def nix(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`nix-instantiate ARGUMENTS...`, which touches no store."""
    if shutil.which("nix-instantiate") is None:
        pytest.skip("nix-instantiate is not installed: nothing written in Nix is tested")
    return subprocess.run(
        ["nix-instantiate", *arguments], capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
    )


def nix_eval(*arguments: str) -> Any:
    """The value that `nix-instantiate --eval ARGUMENTS...` prints; its message fails the test."""
    done = nix("--eval", "--strict", "--json", "--readonly-mode", "--store", "dummy://", *arguments)
    if done.returncode != 0:
        pytest.fail(done.stderr)
    return json.loads(done.stdout)


@cache
def mentioned(nixpkgs: Path) -> str:
    """The names of packages that NixOS's modules mention, as JSON for stand_in_pkgs.nix."""
    packages: dict[str, set[str]] = {name: set() for name in ("callPackage", "passt", *_SHELLS)}
    features: set[str] = set()
    for file in nixpkgs.joinpath("nixos").rglob("*.nix"):
        text = file.read_text(errors="replace")
        for match in re.finditer(r"\bpkgs\w*\.([A-Za-z_][\w'-]*)(?:\.([A-Za-z_][\w'-]*))?", text):
            packages.setdefault(match[1], set()).update(match.groups()[1:])
        for match in re.finditer(r"\bwith pkgs;\s*\[([^\]]*)\]", text):
            for name in re.findall(r"[A-Za-z_][\w'-]*", match[1]):
                packages.setdefault(name, set())
        for match in re.finditer(r'mkPackageOption\s+pkgs\s+(?:\[\s*)?"([^"]+)"(?:\s+"([^"]+)")?', text):
            packages.setdefault(match[1], set()).update(match.groups()[1:])
        features.update(re.findall(r"(?:systemd|[pP]ackage)\.(with[A-Z]\w*[a-z0-9])\b", text))
    return json.dumps(
        {
            "packages": {name: sorted(within - {None} - _NOT_PACKAGES) for name, within in packages.items()},
            "features": sorted(features - {"withExtensions", "withPackages", "withPlugins"}),
        }
    )


@dataclass(frozen=True)
class Tree:
    """A copy of nixpkgs, or of its lib and nixos folders."""

    path: Path

    def evaluate(self, what: str, *modules: str | dict[str, Any]) -> Any:
        """The attribute `what` of evaluate.nix for a NixOS with `modules`."""
        return nix_eval(
            *("--arg", "nixpkgs", str(self.path), "--argstr", "names", mentioned(self.path)),
            *("--argstr", "modules", json.dumps(modules), str(HERE / "evaluate.nix"), "-A", what),
        )

    def bare(self, module: str) -> Any:
        """What bare.nix says of `module`, guest or host."""
        return nix_eval("--arg", "nixpkgs", str(self.path), "--argstr", "module", module, str(HERE / "bare.nix"))

    def module(self, name: str) -> str:
        """The path of NixOS's own module `name`."""
        return str(self.path / "nixos/modules" / name)
