"""The configuration's keys as a JSON schema, for editors."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from nixvm_loop.config.keys import CHECK, GUEST, GUEST_TABLES, LIST_TEXTS, NAME, TABLE_TEXTS, Key, Section

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """Describe a whole configuration file: every key with its sentence, its type and its default."""
    tables = {name: _table(section) | {"description": TABLE_TEXTS[name]} for name, section in GUEST_TABLES.items()}
    checks = {"type": "array", "items": _table(CHECK) | {"required": ["name"]}, "description": TABLE_TEXTS["checks"]}
    guest = _table(GUEST)
    guest["properties"] |= tables | {"checks": checks}
    return {
        "$schema": _DRAFT,
        "title": "nixvm-loop.toml",
        "type": "object",
        "required": ["guests"],
        "additionalProperties": False,
        "properties": {
            "guests": {
                "type": "object",
                "minProperties": 1,
                "propertyNames": {"pattern": f"^{NAME}$"},
                "additionalProperties": guest,
            }
        },
    }


def _table(section: Section) -> dict[str, Any]:
    defaults = {field.name: field.default for field in dataclasses.fields(section.settings)}
    properties = {key.name: _key(key, defaults[key.target]) for key in section.keys}
    properties |= {name: _list(name, listed) for name, listed in section.lists.items()}
    required = {"required": list(section.required)} if section.required else {}
    return {"type": "object", "additionalProperties": False, "properties": properties} | required


def _list(name: str, section: Section) -> dict[str, Any]:
    described = {"description": LIST_TEXTS[name], "type": "array", "items": _table(section), "default": []}
    return described | {"maxItems": section.most}


def _key(key: Key, settings_default: object) -> dict[str, Any]:
    described = {"description": key.text, **key.kind.schema}
    if key.has_default:
        return described | {"default": key.default}
    # A key that must be given, or whose default hangs on the guest's name, has none here; a check's command neither.
    if settings_default is dataclasses.MISSING or (key.name, settings_default) == ("command", None):
        return described
    return described | {"default": key.kind.write(settings_default)}
