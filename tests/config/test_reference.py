from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from nixvm_loop.config import loads, schema

FILE = Path(__file__).parents[2] / "config.example.toml"
TEXT = FILE.read_text()
UNCOMMENTED = re.sub(r"^# ([a-z_]+ = |\[)", r"\1", TEXT, flags=re.MULTILINE)
GUEST: dict[str, Any] = schema()["properties"]["guests"]["additionalProperties"]
TABLES = [name for name, described in GUEST["properties"].items() if described.get("type") == "object"]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)


def test_it_loads_as_it_stands() -> None:
    """The reference is a configuration of one guest with the defaults and a machine."""
    assert loads(TEXT, FILE) == loads("[guests.demo.machine]", FILE)


def test_the_defaults_are_the_true_ones() -> None:
    """With every default uncommented nothing changes but for the example's own check."""
    text = UNCOMMENTED[: UNCOMMENTED.index("[[guests.demo.checks]]")]
    assert loads(text, FILE) == loads("[guests.demo.machine]", FILE)
    (check,) = loads(UNCOMMENTED, FILE).guests["demo"].checks
    assert (check.timeout_s, check.required) == (10.0, False)


def test_every_key_is_there() -> None:
    """The reference and the schema have the same keys, and the same defaults where the schema has one."""
    shown = tomllib.loads(UNCOMMENTED)["guests"]["demo"]
    compare(shown, GUEST["properties"])
    for table in TABLES:
        compare(shown[table], GUEST["properties"][table]["properties"])
    compare(shown["checks"][0], GUEST["properties"]["checks"]["items"]["properties"])


def compare(shown: dict[str, Any], described: dict[str, Any]) -> None:
    assert list(shown) == list(described)
    for key, value in shown.items():
        if "default" in described[key]:
            assert same(value, described[key]["default"]), key


def same(shown: object, default: object) -> bool:
    return (shown, default) == ("2m", "120s") or shown == default


def test_every_key_has_a_sentence() -> None:
    """Above each key of the reference stands what it does, and the schema says it too."""
    lines = TEXT.splitlines()
    for number, line in enumerate(lines):
        if re.match(r"# [a-z_]+ = |\[", line):
            assert re.match(r"# .*[.]$", next(above for above in reversed(lines[:number]) if above)), line
    for described in (GUEST, *(GUEST["properties"][table] for table in TABLES)):
        assert all(re.fullmatch(r"[A-Z].*\.", key["description"]) for key in described["properties"].values())


def test_the_schema_refuses_unknown_keys() -> None:
    """Editors mark a key that is not known, at each level."""
    assert schema()["additionalProperties"] is False
    assert GUEST["additionalProperties"] is False
    assert all(GUEST["properties"][table]["additionalProperties"] is False for table in TABLES)
    assert TABLES == ["watch", "build", "apply", "machine", "ssh", "store"]


def test_the_schema_has_the_patterns_of_the_reader() -> None:
    """What the schema lets through is what the reader takes, for the values of the reference."""
    shown = tomllib.loads(UNCOMMENTED)["guests"]["demo"]
    for table in TABLES:
        for key, value in shown[table].items():
            described = GUEST["properties"][table]["properties"][key]
            if isinstance(value, str) and "pattern" in described:
                assert re.search(described["pattern"], value), key
            if "enum" in described:
                assert value in described["enum"], key


@pytest.mark.parametrize("name", ["disks", "shares"])
def test_lists_of_tables(name: str) -> None:
    """Each has a sentence with an example, which has all keys of the schema with their defaults and can be loaded."""
    described = GUEST["properties"]["machine"]["properties"][name]
    entry = described["items"]
    assert entry["additionalProperties"] is False
    assert all(re.fullmatch(r"[A-Z].*\.", key["description"]) for key in entry["properties"].values())
    above = " ".join(TEXT.partition(f"# {name} = []")[0].rpartition("\n\n")[2].replace("# ", "").split())
    example = above[above.index("[{") : above.index("}]") + 2]
    (shown,) = tomllib.loads(f"x = {example}")["x"]
    assert list(shown) == list(entry["properties"])
    for key, value in shown.items():
        if key not in entry["required"]:
            assert value == entry["properties"][key]["default"]
    assert loads(f"[guests.demo.machine]\n{name} = {example}", FILE).guests["demo"].machine is not None
