"""Flake references and attribute paths as the user writes them: local ones become absolute, mistakes are named."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

from nixvm_loop.config.kinds import Kind, absolute, line
from nixvm_loop.config.problems import Place, ReportedError

if TYPE_CHECKING:
    from pathlib import Path

_LOCAL: Final = re.compile(r"(?P<scheme>path:|git\+file:)?(?P<slashes>//)?(?P<path>[^?]*)(?P<query>\?.*)?")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_REGISTRY_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(/[A-Za-z0-9_./-]+)?")
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_'-]*")
_TOPLEVEL: Final = ".config.system.build.toplevel"
# Outside quotes these have a meaning to Nix: fragment, outputs, string interpolation.
_ATTRIBUTE: Final = r"""(?:[^\s."#^$\\{}]+|"[^"#^$\\{}]+")(?:\.(?:[^\s."#^$\\{}]+|"[^"#^$\\{}]+"))*"""


@dataclass(frozen=True, slots=True)
class Flake:
    """A reference as Nix gets it, and the local folder that it names, None for a remote one."""

    reference: str
    directory: Path | None


def flake() -> Kind:
    """A flake reference."""
    text = line('a flake reference, such as "." or "github:owner/repo"')

    def read(value: object, place: Place) -> Flake:
        reference = text.read(value, place)
        problem = _misread(reference, place.base)
        if problem is None:
            resolved = resolve(reference, place.base)
            problem = _unspeakable(resolved)
            if problem is None:
                return resolved
        place.fail(problem)
        raise ReportedError

    return Kind(read, {"type": "string", "minLength": 1})


def override() -> Kind:
    """A flake reference that stands in for an input; local ones become absolute as well."""
    whole = flake()

    def read(value: object, place: Place) -> str:
        resolved: Flake = whole.read(value, place)
        return resolved.reference

    return Kind(read, whole.schema)


def resolve(reference: str, base: Path) -> Flake:
    """Make a local reference absolute, seen from the folder `base`; others stay as they are."""
    match = _LOCAL.fullmatch(reference)
    if match is None or not _is_local(reference):
        return Flake(reference, None)
    scheme, query = match["scheme"] or "", match["query"] or ""
    if not scheme:
        directory = absolute(f"{match['slashes'] or ''}{match['path']}" or ".", base)
        return Flake(f"{directory}{query}", directory)
    directory = absolute(unquote(match["path"]) or ".", base)
    slashes = "//" if scheme == "git+file:" else ""
    return Flake(f"{scheme}{slashes}{quote(str(directory), safe='/+@:,~=')}{query}", directory)


def attribute() -> Kind:
    """The attribute path of a configuration in its flake."""
    text = line(
        """an attribute path, such as 'nixosConfigurations.demo' or 'nixosConfigurations."my.host"'""", _ATTRIBUTE
    )

    def read(value: object, place: Place) -> str:
        path: str = text.read(value, place)
        if path.endswith(_TOPLEVEL):
            place.fail(f"leave out {_TOPLEVEL}, it is added")
            raise ReportedError
        return path

    return Kind(read, {"type": "string", "minLength": 1})


def default_attribute(name: str) -> str:
    """`nixosConfigurations.NAME`, quoted where the name asks for it."""
    return f"nixosConfigurations.{name}" if _IDENTIFIER.fullmatch(name) else f'nixosConfigurations."{name}"'


def _is_local(reference: str) -> bool:
    if _SCHEME.match(reference):
        return reference.startswith(("path:", "git+file:"))
    return not _REGISTRY_NAME.fullmatch(reference.partition("?")[0])


def _misread(reference: str, base: Path) -> str | None:
    """What is wrong with a reference before it is resolved."""
    if "#" in reference:
        return f'leave out "#{reference.partition("#")[2]}": the key `attribute` says what is built'
    if not _is_local(reference) and not _SCHEME.match(reference) and (base / reference / "flake.nix").exists():
        return f'"{reference}" is a name in the registry of flakes; write "./{reference}" for the folder'
    return None


def _unspeakable(resolved: Flake) -> str | None:
    if resolved.directory is None or ":" in resolved.reference.partition("/")[0]:
        return None
    if not set("#?%") & set(str(resolved.directory)):
        return None
    return f"Nix cannot be told of the folder {resolved.directory}: #, ? and % mean something in its name; rename it"
