from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOW_TO = (ROOT / "docs/how-to/adopt-an-existing-vm.md").read_text()
ROWS = [line for line in HOW_TO[HOW_TO.index("| you see |") :].splitlines()[2:] if line.startswith("|")]
# What the command alone, and nobody else, refuses.
SOURCES = ("commands/adopt.py", "commands/release.py", "commands/redefine.py", "domainxml/obstacles.py")


def text_of(node: ast.expr) -> str:
    """What a string says, with … for what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    return "".join(text_of(part) if isinstance(part, ast.Constant) else "…" for part in getattr(node, "values", []))


def strings(file: Path) -> list[str]:
    """All of a module's."""
    nodes = ast.walk(ast.parse(file.read_text()))
    return [text_of(node) for node in nodes if isinstance(node, ast.JoinedStr | ast.Constant)]


@cache
def everything() -> list[str]:
    """All of the program's."""
    return [text for file in (ROOT / "nixvm_loop").rglob("*.py") for text in strings(file)]


def phrases(row: str) -> list[re.Pattern[str]]:
    """What a row of the table quotes, commands aside; … stands for anything."""
    quoted = set(re.findall(r"`([^`]*)`", row.split("|")[1])) - {"delete", "release"}
    return [re.compile(".*".join(map(re.escape, phrase.split("…")))) for phrase in sorted(quoted)]


def refusals(file: Path) -> list[str]:
    """The messages of the errors that a module raises."""
    calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    names = {"DomainError", "UsageError"}
    return [text_of(call.args[0]) for call in calls if isinstance(call.func, ast.Name) and call.func.id in names]


@pytest.mark.parametrize("row", ROWS)
def test_what_the_how_to_quotes_is_said(row: str) -> None:
    """Each phrase in the table of refusals is one of the program's."""
    for phrase in phrases(row):
        assert any(phrase.search(text) for text in everything()), phrase.pattern


@pytest.mark.parametrize("source", SOURCES)
def test_what_is_refused_is_in_the_how_to(source: str) -> None:
    """No refusal of adopt's or release's is missing in the table."""
    told = [phrase for row in ROWS for phrase in phrases(row)]
    found = refusals(ROOT / "nixvm_loop" / source)
    assert found
    assert [text for text in found if not any(one.search(text) for one in told)] == []
