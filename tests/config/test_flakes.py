from __future__ import annotations

from pathlib import Path

import pytest

from nixvm_loop.config import loads
from nixvm_loop.config.flakes import default_attribute, resolve
from nixvm_loop.errors import ConfigError


@pytest.mark.parametrize(
    ("reference", "resolved", "directory"),
    [
        (".", "/project", "/project"),
        ("./guest", "/project/guest", "/project/guest"),
        ("..", "/", "/"),
        ("./guest/", "/project/guest", "/project/guest"),
        ("/abs", "/abs", "/abs"),
        ("~/guest", "/home/me/guest", "/home/me/guest"),
        (".?dir=sub", "/project?dir=sub", "/project"),
        ("?dir=sub", "/project?dir=sub", "/project"),
        ("path:.", "path:/project", "/project"),
        ("path:./x?dir=y", "path:/project/x?dir=y", "/project/x"),
        ("path:x", "path:/project/x", "/project/x"),
        ("path:/abs", "path:/abs", "/abs"),
        ("path:///abs", "path:/abs", "/abs"),
        ("path:./a%20b", "path:/project/a%20b", "/project/a b"),
        ("git+file:.", "git+file:///project", "/project"),
        ("git+file:///abs?submodules=1", "git+file:///abs?submodules=1", "/abs"),
        ("git+file:/abs", "git+file:///abs", "/abs"),
        ("git+file:./x", "git+file:///project/x", "/project/x"),
    ],
)
def test_local_references(monkeypatch: pytest.MonkeyPatch, reference: str, resolved: str, directory: str) -> None:
    """Local references become absolute in their own form, seen from the file's folder, and name it."""
    monkeypatch.setenv("HOME", "/home/me")
    flake = resolve(reference, Path("/project"))
    assert (flake.reference, flake.directory) == (resolved, Path(directory))


@pytest.mark.parametrize(
    "reference",
    [
        "github:o/r",
        "git+https://x/y?ref=main",
        "git+ssh://git@x/y",
        "nixpkgs",
        "nixpkgs/nixos-25.05",
        "flake:nixpkgs",
        "https://x/y.tar.gz",
        "file:///x.tar.gz",
    ],
)
def test_other_references(reference: str) -> None:
    """Remote references, and names in the registry, are left to Nix."""
    assert resolve(reference, Path("/project")) == resolve(reference, Path("/elsewhere"))
    assert resolve(reference, Path("/project")).reference == reference
    assert resolve(reference, Path("/project")).directory is None


def problem(text: str, folder: Path = Path("/project")) -> str:
    with pytest.raises(ConfigError) as caught:
        loads(f"[guests.demo]\n{text}", folder / "nixvm-loop.toml")
    (line,) = caught.value.details
    return line.partition(": ")[2]


@pytest.mark.parametrize("reference", [".#demo", "github:o/r#x", "#demo"])
def test_a_fragment(reference: str) -> None:
    """A fragment is refused with the key that is meant for it."""
    text = problem(f"flake = '{reference}'")
    assert text == f'guests.demo.flake: leave out "#{reference.split("#")[1]}": the key `attribute` says what is built'


def test_a_folder_named_like_a_registry_entry(tmp_path: Path) -> None:
    """A folder written without ./ would be looked up in the registry; it is told how to write it."""
    (tmp_path / "vm").mkdir()
    (tmp_path / "vm/flake.nix").touch()
    assert 'write "./vm" for the folder' in problem("flake = 'vm'", tmp_path)


def test_a_folder_that_nix_cannot_be_told_of() -> None:
    """A folder whose name has a meaning in references is refused here, where its name is known."""
    assert "Nix cannot be told of the folder /c#" in problem("flake = '.'", Path("/c#"))


@pytest.mark.parametrize(
    ("name", "attribute"),
    [
        ("demo", "nixosConfigurations.demo"),
        ("my-guest_2", "nixosConfigurations.my-guest_2"),
        ("my.host", 'nixosConfigurations."my.host"'),
        ("2nd", 'nixosConfigurations."2nd"'),
    ],
)
def test_default_attributes(name: str, attribute: str) -> None:
    """A name that is no identifier of Nix is quoted."""
    assert default_attribute(name) == attribute
    read = loads(f"[guests.'{name}']", Path("/x.toml")).guests[name]
    assert (read.attribute, read.domain) == (attribute, name)


@pytest.mark.parametrize("path", ['nixosConfigurations."my.host"', "a", "a.b-c'", 'x."a b".y'])
def test_attributes(path: str) -> None:
    """Attribute paths are taken as they are, quoted parts included."""
    assert loads(f"[guests.demo]\nattribute = '''{path}'''", Path("/x.toml")).guests["demo"].attribute == path


@pytest.mark.parametrize("path", ["", ".", "a..b", "a.", ".a", 'a."b', "a b", "a#b", "a^out", "a.${b}", 'a."${b}"'])
def test_what_is_no_attribute(path: str) -> None:
    """What Nix would read as something else is refused."""
    assert problem(f"attribute = '{path}'").startswith("guests.demo.attribute: expected an attribute path")


def test_the_toplevel_is_added() -> None:
    """Who names the toplevel is told to leave it out."""
    text = problem("attribute = 'nixosConfigurations.demo.config.system.build.toplevel'")
    assert text == "guests.demo.attribute: leave out .config.system.build.toplevel, it is added"
