"""Which configuration file, and which guest of it, a call means."""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nixvm_loop.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nixvm_loop.model.settings import GuestSettings, Settings

FILE_NAME: Final = "nixvm-loop.toml"
VARIABLE: Final = "NIXVM_LOOP_CONFIG"
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")


def find(explicit: Path | None, environ: Mapping[str, str], cwd: Path) -> Path:
    """The configuration file: the one given, that of the environment, or the nearest from `cwd` upwards.

    Raises ConfigError when there is none.
    """
    named = explicit or (Path(environ[VARIABLE]) if environ.get(VARIABLE) else None)
    if named is not None:
        file = cwd / named.expanduser()
        if not file.is_file():
            source = "" if explicit else f" (named by ${VARIABLE})"
            raise ConfigError(f"there is no configuration file {named}{source}")
        return file
    for folder in (cwd, *cwd.parents):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    raise ConfigError(
        f"there is no {FILE_NAME} in {cwd} or above",
        hint=f"`nixvm-loop init` writes one for a flake; --config or ${VARIABLE} name another file",
    )


def select(settings: Settings, name: str | None) -> GuestSettings:
    """The guest of this name, or the only one. Raises UsageError that lists the guests."""
    guests = settings.guests
    listed = ", ".join(guests)
    if name is None:
        if len(guests) == 1:
            return next(iter(guests.values()))
        raise UsageError(f"{len(guests)} guests are configured", hint=f"choose one with --guest: {listed}")
    if name not in guests:
        close = difflib.get_close_matches(name, list(guests), n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UsageError(f'there is no guest "{name}" in {settings.file}', hint=f"{hint}configured: {listed}")
    return guests[name]


def select_for(settings: Settings, domain: str, name: str | None) -> GuestSettings:
    """The guest whose domain this is; `name` chooses among several.

    Raises:
        UsageError: there is none, or not one alone; the hint says what to write, or to choose.
    """
    if name is not None:
        guest = select(settings, name)
        if guest.domain != domain:
            raise UsageError(
                f"guest {name} has the domain {guest.domain}, not {domain}",
                hint=f"write domain = {json.dumps(domain)} into [guests.{name}], or name its own",
            )
        return guest
    found = [guest for guest in settings.guests.values() if guest.domain == domain]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(guest.name for guest in found)
        raise UsageError(f"{len(found)} guests have the domain {domain}", hint=f"choose one with --guest: {names}")
    raise UsageError(f"no guest in {settings.file} has the domain {domain}", hint=_guest_to_write(settings, domain))


def _guest_to_write(settings: Settings, domain: str) -> str:
    known = [guest.domain for guest in settings.guests.values()]
    close = difflib.get_close_matches(domain, known, n=1)
    quoted = json.dumps(domain, ensure_ascii=False)
    key = domain if _BARE_KEY.fullmatch(domain) else quoted
    near = f"did you mean {close[0]}? Otherwise " if close else ""
    return f'{near}add two lines, `[guests.{key}]` and `flake = "."`, or write domain = {quoted} into its guest'
