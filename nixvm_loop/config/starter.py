"""A first configuration file: the lines that count, and the keys that are asked for most, commented out."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from nixvm_loop.config.flakes import default_attribute
from nixvm_loop.config.problems import dotted
from nixvm_loop.config.reference import reference

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD: Final = """\
# What nixvm-loop builds, boots and verifies. Only lines without `# ` count; a line `# key = value` shows the default.
# config.example.toml in nixvm-loop's repository lists every key.
"""
_GUEST_KEYS: Final = ("flake", "attribute", "domain")
_KEYS: Final = {
    "machine": ("memory", "vcpus", "ssh_port", "forward"),
    "ssh": ("host", "key"),
    "watch": ("ignore",),
    "apply": ("mode", "kernel_params"),
}


class Owner(Enum):
    """Whose the domain is: nixvm-loop's has `[machine]`, and then SSH needs no settings."""

    NIXVM_LOOP = ("machine", "watch", "apply")
    USER = ("ssh", "watch", "apply")


@dataclass(frozen=True, slots=True)
class Starter:
    """What the file is about: a guest's name, its flake (as the file is to have it), its configuration there."""

    name: str
    flake: str
    attribute: str
    owner: Owner = Owner.NIXVM_LOOP

    def text(self) -> str:
        """The file."""
        return "\n".join((_HEAD, *self._guest(), *self._tables()))

    def _guest(self) -> Iterator[str]:
        yield f"[{dotted(('guests', self.name))}]\n"
        usual = self.attribute == default_attribute(self.name)
        written = {"flake": self.flake} | ({} if usual else {"attribute": self.attribute})
        defaults = {"attribute": self.attribute, "domain": self.name}
        for key in _GUEST_KEYS:
            yield from reference()[""].keys[key].comment
            value = written.get(key)
            yield f"# {key} = {_toml(defaults[key])}\n" if value is None else f"{key} = {_toml(value)}\n"

    def _tables(self) -> Iterator[str]:
        for name in self.owner.value:
            table = reference()[name]
            yield from table.comment
            yield f"[{dotted(('guests', self.name, name))}]\n"
            for key in _KEYS[name]:
                entry = table.keys[key]
                yield from entry.comment
                yield f"# {key} = {entry.default}\n"


def guest_name(configuration: str) -> str:
    """A name for a guest after that of its configuration, with a dash for each character that no guest's may have."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", configuration).strip("-").lstrip(".-")
    return name[:100] or "guest"


def _toml(text: str) -> str:
    # Control characters are refused by the kinds of values, so that TOML reads both alike.
    if '"' in text and "'" not in text:
        return f"'{text}'"
    return json.dumps(text, ensure_ascii=False)
