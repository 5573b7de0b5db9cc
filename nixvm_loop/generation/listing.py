"""Generations as `history` lists them, with what each one is to the guest. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from nixvm_loop.events.generations import GenerationInfo
from nixvm_loop.model.values import Action, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from enum import StrEnum

    from nixvm_loop.generation.entries import Entry

Word = TypeVar("Word", bound="StrEnum")


@dataclass(frozen=True, slots=True)
class Marks:
    """Which number is what."""

    built: int | None
    current: int | None
    booted: int | None
    runs: int | None
    last_good: int | None


def listed(entries: Iterable[Entry], marks: Marks, now: datetime) -> tuple[GenerationInfo, ...]:
    """The generations, the newest first. What `generation.json` does not say, or not as it should, is None."""
    return tuple(sorted((_info(entry, marks, now) for entry in entries), key=lambda one: -one.number))


def _info(entry: Entry, marks: Marks, now: datetime) -> GenerationInfo:
    about, generation, number = entry.about, entry.generation, entry.number
    created = _time(about.get("created"))
    return GenerationInfo(
        number=number,
        created=None if created is None else created.isoformat(timespec="seconds").replace("+00:00", "Z"),
        age_seconds=None if created is None else max(0.0, (now - created).total_seconds()),
        verdict=_word(Verdict, about.get("verdict")),
        action=_word(Action, about.get("action")),
        reason=_text(about, "reason"),
        changes=_texts(about.get("changes")),
        revision=_text(about, "revision"),
        dirty=about["dirty"] if isinstance(about.get("dirty"), bool) else None,
        cycle=about["cycle"] if type(about.get("cycle")) is int else None,
        label=_text(about, "label"),
        toplevel=str(generation.toplevel) if generation else None,
        kernel=str(generation.kernel) if generation else None,
        initrd=str(generation.initrd) if generation else None,
        cmdline=generation.cmdline if generation else None,
        console=_text(about, "console"),
        built=number == marks.built,
        current=number == marks.current,
        booted=number == marks.booted,
        runs=number == marks.runs,
        last_good=number == marks.last_good,
        problem=entry.problem,
    )


def _text(about: Mapping[str, Any], key: str) -> str | None:
    value = about.get(key)
    return value if isinstance(value, str) else None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _word(words: type[Word], value: object) -> Word | None:
    return next((word for word in words if word.value == value), None)


def _time(value: object) -> datetime | None:
    try:
        time = datetime.fromisoformat(str(value))
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
