"""A configuration file as a whole: read, parsed, and all of its problems in one error."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Final

from nixvm_loop.config.problems import Place, sentences
from nixvm_loop.config.tables import read_document
from nixvm_loop.errors import ConfigError
from nixvm_loop.model.settings import Settings

_POSITION: Final = re.compile(
    r"(?P<what>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)", re.DOTALL
)
_REFERENCE_HINT: Final = "config.example.toml in nixvm-loop's repository lists every key with its default"


def load(file: Path) -> Settings:
    """Read a configuration file.

    Raises ConfigError with all problems of the file in its details.
    """
    name = _display(file)
    try:
        text = file.read_bytes().decode()
    except OSError as error:
        raise ConfigError(f"{name} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        row = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{name}:{row}: the file is not UTF-8") from error
    return loads(text, file)


def loads(text: str, file: Path) -> Settings:
    """Read a configuration's text as if it stood in `file`. Raises ConfigError like `load`."""
    from platformdirs import user_state_path  # noqa: PLC0415  # --help does without

    name = _display(file)
    document = _parse(text, name)
    file = file.absolute()
    place = Place(file.parent)
    guests = read_document(document, place, user_state_path("nixvm-loop", appauthor=False))
    if place.problems:
        count = len(place.problems)
        raise ConfigError(
            f"{name}: {count} problem{'s' if count > 1 else ''}",
            hint=_REFERENCE_HINT,
            details=sentences(place.problems, text, name),
        )
    return Settings(file, guests)


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ConfigError(f"{name}: the values are nested too deeply") from error
    except ValueError as error:
        match = _POSITION.fullmatch(str(error))
        line = match["line"] if match and match["line"] else str(max(1, len(text.splitlines())))
        column = match["column"] if match and match["column"] else "1"
        what = match["what"] if match else str(error)
        raise ConfigError(f"{name}:{line}:{column}: not TOML: {what}") from error


def _display(file: Path) -> str:
    """The file's name as the user knows it: relative where it is below the working directory."""
    try:
        return str(file.absolute().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(file)
