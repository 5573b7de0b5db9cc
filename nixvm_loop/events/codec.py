"""Events as JSON objects, and back."""

from __future__ import annotations

import dataclasses
import functools
import json
from datetime import UTC, datetime
from typing import Any

from nixvm_loop.events.names import TYPE_NAMES
from nixvm_loop.events.types import SCHEMA, Event, Stamped

_BY_NAME = {name: cls for cls, name in TYPE_NAMES.items()}


def encode(stamped: Stamped) -> str:
    """One line of NDJSON without its newline. Every key of the type is there; lone surrogates become U+FFFD."""
    head: dict[str, Any] = {
        "schema": SCHEMA,
        "seq": stamped.seq,
        "time": stamped.time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "guest": stamped.guest,
        "cycle": stamped.cycle,
        "type": TYPE_NAMES[type(stamped.event)],
    }
    text = json.dumps(head | _fields(stamped.event), ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def decode(line: str) -> Stamped:
    """The event of a line that `encode` wrote.

    Raises:
        ValueError: the line is no event of this schema, or of a type or shape that is not known here.
    """
    value = json.loads(line)
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        raise ValueError(f"not an event of schema {SCHEMA}")
    try:
        event: Event = _adapter(value["type"]).validate_python({_attribute(key): item for key, item in value.items()})
        time = datetime.fromisoformat(value["time"])
        return Stamped(seq=value["seq"], time=time, guest=value["guest"], cycle=value["cycle"], event=event)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an event that is known here: {error}") from error


def _fields(event: Event) -> dict[str, Any]:
    # `from` is a keyword, so the attribute has an underscore that the JSON key has not.
    return {key.rstrip("_"): value for key, value in dataclasses.asdict(event).items()}


def _attribute(key: str) -> str:
    return "from_" if key == "from" else key


@functools.cache
def _adapter(type_name: str) -> Any:
    # pydantic is imported here because only programs that read events pay for it.
    from pydantic import TypeAdapter  # noqa: PLC0415

    return TypeAdapter(_BY_NAME[type_name])
