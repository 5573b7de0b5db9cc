from __future__ import annotations

from nixvm_loop.events.generations import DefinitionChange
from nixvm_loop.present import difference, tables
from tests.present.scenario import HOSTILE

LINES = ("--- demo before", "+++ demo after", "@@ -1,2 +1,2 @@", "   <a/>", "-  <b/>", "+  <c/>")
CHANGE = DefinitionChange("demo", LINES)


def test_as_lines() -> None:
    """On pipes it is the diff itself, as patch reads it."""
    assert tuple(line for _, line in difference.definition_lines(CHANGE)) == LINES


def test_in_colours() -> None:
    """On a terminal the same lines have the colours of a diff."""
    texts = tables.definition(CHANGE)
    assert tuple(text.plain for text in texts) == LINES
    assert [str(text.style) for text in texts] == ["bold", "bold", "cyan", "", "red", "green"]


def test_harmless() -> None:
    """Nothing in a definition reaches the terminal as a command."""
    (line,) = (line for _, line in difference.definition_lines(DefinitionChange("demo", (f"+{HOSTILE}",))))
    assert line.replace("\ufffd", "").isprintable()
