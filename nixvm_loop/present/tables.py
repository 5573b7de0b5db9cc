"""`history`, `diff` and changed definitions on a terminal: the same words in a table and in colours. Pure."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nixvm_loop.present import difference, generations
from nixvm_loop.present.difference import Mark

if TYPE_CHECKING:
    from nixvm_loop.events.generations import DefinitionChange, Difference, History

_VERDICT_STYLES = {"ok": "green", "failed": "bold red", "cancelled": "yellow"}
_MARK_STYLES = {Mark.ADDED: "green", Mark.REMOVED: "red", Mark.CHANGED: "yellow"}
_LEAST_CHANGED_CELLS = 16


def history(event: History, width: int) -> list[Text]:
    """The generations in a table of at most `width` cells, and the remarks below it."""
    below = [
        Text(line, style="dim" if line.startswith("booted: ") else "yellow") for line in generations.remarks(event)
    ]
    if not event.generations:
        return [Text("no generation yet"), *below]
    return [*_rendered(_table(event), width), *below]


def diff(event: Difference) -> list[Text]:
    """The difference, its marks in colours. Not cut to a width, so that paths stay whole."""
    return [
        Text(text, style="bold") if mark is Mark.HEADING else Text(f"  {mark} {text}", style=_MARK_STYLES.get(mark, ""))
        for mark, text in difference.marked_lines(event)
    ]


def definition(event: DefinitionChange) -> list[Text]:
    """The unified diff in its usual colours."""
    styles = _MARK_STYLES | {Mark.HEADING: "bold", Mark.CHANGED: "cyan"}
    return [Text(line, style=styles.get(mark, "")) for mark, line in difference.definition_lines(event)]


def _table(event: History) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    number, age, verdict, action, roles, changed = generations.HEADERS
    table.add_column(number, justify="right", no_wrap=True)
    for header in (age, verdict, action):
        table.add_column(header, no_wrap=True)
    table.add_column(roles)
    table.add_column(changed, min_width=_LEAST_CHANGED_CELLS, overflow="fold")
    for row, one in zip(generations.rows(event), event.generations, strict=True):
        cells = [Text(cell) for cell in row]
        cells[2].stylize(_VERDICT_STYLES.get(row.verdict, "dim"))
        cells[4].stylize("bold" if one.current or one.booted else "")
        cells[5].stylize("yellow" if one.problem else "")
        table.add_row(*cells)
    return table


def _rendered(table: Table, width: int) -> list[Text]:
    console = Console(file=io.StringIO(), width=width, force_terminal=True)
    found = []
    for segments in console.render_lines(table, pad=False):
        line = Text.assemble(*((segment.text, segment.style or "") for segment in segments))
        line.rstrip()
        found.append(line)
    return found
