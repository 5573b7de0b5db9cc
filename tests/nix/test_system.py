"""Reading a toplevel as NixOS lays it out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from nixvm_loop.errors import BuildError
from nixvm_loop.nix import read_artifacts

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def toplevel(tmp_path: Path) -> Path:
    """A system with links only, as before bootspec."""
    (tmp_path / "kernel-store").mkdir()
    (tmp_path / "kernel-store/bzImage").write_text("kernel")
    (tmp_path / "initrd-store").write_text("initrd")
    top = tmp_path / "top"
    top.mkdir()
    (top / "kernel").symlink_to(tmp_path / "kernel-store/bzImage")
    (top / "initrd").symlink_to(tmp_path / "initrd-store")
    (top / "init").write_text("#!/bin/sh")
    (top / "kernel-params").write_text('quiet loglevel=4 dyndbg="file a +p" init=/old')
    (top / "nixos-version").write_text("25.11.demo\n")
    return top


def bootspec(top: Path, **changes: Any) -> None:
    spec = {
        "system": "x86_64-linux",
        "kernel": str(top / "kernel"),
        "initrd": str(top / "initrd"),
        "kernelParams": ["quiet", "a b"],
        "label": "from the bootspec",
        "toplevel": str(top),
        "init": str(top / "init"),
    }
    left = {key: value for key, value in (spec | changes).items() if value is not None}
    (top / "boot.json").write_text(json.dumps({"org.nixos.bootspec.v1": left}))


def test_a_system_without_bootspec(toplevel: Path) -> None:
    """The links are followed to the store, the parameters split like the kernel does, `init=` left out."""
    artifacts = read_artifacts(toplevel)
    assert artifacts.kernel == toplevel.parent / "kernel-store/bzImage"
    assert artifacts.initrd == toplevel.parent / "initrd-store"
    assert artifacts.kernel_params == ("quiet", "loglevel=4", 'dyndbg="file a +p"')
    assert artifacts.label == "25.11.demo"
    assert artifacts.toplevel == toplevel


def test_the_bootspec_counts_first(toplevel: Path) -> None:
    """Where there is one, parameters, label and files come from it."""
    bootspec(toplevel, kernel=str(toplevel.parent / "kernel-store/bzImage"))
    (toplevel / "kernel").unlink()
    artifacts = read_artifacts(toplevel)
    assert artifacts.kernel_params == ("quiet", "a b")
    assert artifacts.label == "from the bootspec"
    assert artifacts.kernel == toplevel.parent / "kernel-store/bzImage"


@pytest.mark.parametrize("name", ["kernel", "initrd", "init", "kernel-params"])
def test_a_part_is_missing(toplevel: Path, name: str) -> None:
    """What cannot boot is refused, by the name of what is missing."""
    (toplevel / name).unlink()
    with pytest.raises(BuildError, match=f"has no {name}:") as caught:
        read_artifacts(toplevel)
    assert caught.value.hint


def test_a_bootspec_without_initrd(toplevel: Path) -> None:
    """The key is missing where the initrd is disabled."""
    bootspec(toplevel, initrd=None)
    with pytest.raises(BuildError, match="has no initrd"):
        read_artifacts(toplevel)


def test_an_initrd_without_its_secrets(toplevel: Path) -> None:
    """Secrets are appended by a boot loader's installation, which never happens here."""
    bootspec(toplevel, initrdSecrets=str(toplevel / "append-initrd-secrets"))
    with pytest.raises(BuildError, match="its initrd is incomplete") as caught:
        read_artifacts(toplevel)
    assert "boot.initrd.secrets" in str(caught.value.hint)


@pytest.mark.parametrize(("script", "refused"), [("#!/bin/sh\nexit 0\n", False), ("  cp -a /key $tmp/x\n", True)])
def test_the_secrets_script_of_old_systems(toplevel: Path, script: str, *, refused: bool) -> None:
    """It is there without secrets too; only one that copies something counts."""
    (toplevel / "append-initrd-secrets").write_text(script)
    if refused:
        with pytest.raises(BuildError, match="incomplete"):
            read_artifacts(toplevel)
    else:
        assert read_artifacts(toplevel).label == "25.11.demo"


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"org.nixos.bootspec.v1": {"kernelParams": [1]}}', '{"org.nixos.bootspec.v1": 7}']
)
def test_a_broken_bootspec(toplevel: Path, text: str) -> None:
    """The file is named."""
    (toplevel / "boot.json").write_text(text)
    with pytest.raises(BuildError, match=r"boot\.json is no bootspec"):
        read_artifacts(toplevel)


def test_another_bootspec_version_is_passed_over(toplevel: Path) -> None:
    """Without a v1 the links are read."""
    (toplevel / "boot.json").write_text('{"org.nixos.bootspec.v9": {}}')
    assert read_artifacts(toplevel).label == "25.11.demo"
