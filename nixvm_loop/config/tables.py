"""Tables of the file to settings: each key by its kind, unknown keys with a suggestion."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Final

from nixvm_loop.config.flakes import default_attribute
from nixvm_loop.config.keys import (
    BUILT_IN_CHECKS,
    CHECK,
    GUEST,
    GUEST_TABLES,
    LATER_CHECKS,
    LATER_TABLES,
    NAME,
    NAME_EXPECTED,
    Section,
)
from nixvm_loop.config.kinds import Kind, attempt, line, list_of
from nixvm_loop.config.machine import check_machines
from nixvm_loop.config.problems import Place, ReportedError, dotted, shown
from nixvm_loop.model.settings import CheckSettings, GuestSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LATER: Final = "not available in this version"
_NAME: Final = line(NAME_EXPECTED, NAME, 100)


def read_document(document: dict[str, Any], place: Place, default_state_dir: Path) -> dict[str, GuestSettings]:
    """The guests of a whole document; what cannot be used is noted at `place`."""
    for key in document:
        if key != "guests":
            place.child(key).fail(_LATER if key in LATER_TABLES else _unknown(key, ("guests",), place))
    at = place.child("guests")
    tables = document.get("guests", {})
    if not isinstance(tables, dict):
        at.fail(f"expected tables [guests.NAME], not {shown(tables)}")
        return {}
    if not tables and not place.problems:
        at.fail("no guest is configured; add a table [guests.NAME]")
    guest = Kind(lambda value, there: _guest(value, there, default_state_dir), {})
    read = {name: attempt(guest, value, at.child(name)) for name, value in tables.items()}
    guests = {name: settings for name, settings in read.items() if settings is not None}
    check_machines(guests, tables, at)
    return guests


def _guest(value: object, place: Place, default_state_dir: Path) -> GuestSettings:
    before = len(place.problems)
    name = str(place.path[-1])
    attempt(_NAME, name, place)
    if not isinstance(value, dict):
        raise ValueError(f"expected a table [{dotted(place.path)}]")  # noqa: TRY004  # the caller makes a problem of it
    own = {key: entry for key, entry in value.items() if key not in GUEST.tables}
    values = _read(GUEST, own, place)
    for key, section in GUEST_TABLES.items():
        if key in value:
            values[key] = attempt(_table(section), value[key], place.child(key))
    if "checks" in value:
        values["checks"] = _checks(value["checks"], place.child("checks"))
    flake = values.pop("flake", None)
    state_dir = values.pop("state_dir", default_state_dir)
    if len(place.problems) > before or flake is None:
        raise ReportedError
    defaults = {"attribute": default_attribute(name), "domain": name}
    return GuestSettings(
        **{
            **defaults,
            **values,
            "name": name,
            "flake": flake.reference,
            "flake_dir": flake.directory,
            "state_dir": state_dir / name,
        }
    )


def _table(section: Section) -> Kind:
    def read(value: object, place: Place) -> Any:
        before = len(place.problems)
        if not isinstance(value, dict):
            raise ValueError("expected a table")  # noqa: TRY004  # as above
        values = _read(section, value, place)
        for name in (name for name in section.required if name not in value):
            place.fail(f"the key `{name}` is missing")
        if len(place.problems) > before:
            raise ReportedError
        return section.settings(**values)

    return Kind(read, {})


def _read(section: Section, table: dict[str, Any], place: Place) -> dict[str, Any]:
    known = {key.name: key for key in section.keys}
    names = (*known, *section.tables, *section.lists)
    given = {**{key.name: key.default for key in section.keys if key.has_default}, **table}
    values: dict[str, Any] = {}
    for name, value in given.items():
        at = place.child(name)
        if name in known:
            values[known[name].target] = attempt(known[name].kind, value, at)
        elif name in section.lists:
            listed = section.lists[name]
            values[name] = attempt(list_of(_table(listed), listed.most), value, at)
        else:
            at.fail(_unknown(name, names, place))
    return values


def _unknown(name: str, known: tuple[str, ...], place: Place) -> str:
    elsewhere = [path for path in _all_paths(place) if path[-1] == name]
    close = difflib.get_close_matches(name, known, n=1)
    if elsewhere:
        return f"unknown key; did you mean {dotted(elsewhere[0])}?"
    if close:
        return f"unknown key; did you mean {dotted((*place.path, close[0]))}?"
    return f"unknown key; known here: {', '.join(sorted(known))}"


def _all_paths(place: Place) -> Iterator[tuple[str | int, ...]]:
    """The paths of all keys of the guest that `place` belongs to."""
    guest = place.path[:2]
    if len(guest) == len(("guests", "NAME")):
        yield from ((*guest, key.name) for key in GUEST.keys)
        yield from ((*guest, table) for table in GUEST.tables)
        for table, section in GUEST_TABLES.items():
            yield from ((*guest, table, name) for name in (*(key.name for key in section.keys), *section.lists))


def _checks(value: object, place: Place) -> tuple[CheckSettings | None, ...] | None:
    checks: tuple[CheckSettings | None, ...] | None = attempt(list_of(Kind(_check, {})), value, place)
    taken: set[str] = set()
    for index, check in enumerate(checks or ()):
        if check is not None and check.name in taken:
            place.child(index).child("name").fail(f"there is another check named {shown(check.name)}")
        taken |= set() if check is None else {check.name}
    return checks


def _check(value: object, place: Place) -> CheckSettings:
    before = len(place.problems)
    if not isinstance(value, dict):
        raise ValueError("expected a table")  # noqa: TRY004  # as above
    check: CheckSettings | None = _table(CHECK).read(value, place) if "name" in value else None
    if check is None:
        _read(CHECK, value, place)
        place.fail("the key `name` is missing")
    elif check.name in LATER_CHECKS:
        place.child("name").fail(f"{shown(check.name)} is {_LATER}")
    elif check.name in BUILT_IN_CHECKS:
        _check_built_in(value, place)
    elif check.command is None:
        close = difflib.get_close_matches(check.name, BUILT_IN_CHECKS, n=1)
        place.fail("the key `command` is missing" + (f"; did you mean the check {shown(close[0])}?" if close else ""))
    if len(place.problems) > before or check is None:
        raise ReportedError
    return check


def _check_built_in(table: dict[str, Any], place: Place) -> None:
    name = shown(table["name"])
    for key in ("command", "timeout"):
        if key in table:
            place.child(key).fail(f"{name} is a built-in check: only `required` can be set")
    if "required" not in table:
        place.fail(f"{name} is a built-in check: the key `required` is missing, which is all that can be set")
