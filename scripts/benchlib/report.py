"""Samples and scenarios to a table, and to JSON: pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchlib.series import Statistic, stands_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchlib.scenarios import Row, Scenario

_HEAD = ("what", "n", "median", "min - max", "held to", "")
_NUMERIC = frozenset({1, 2, 3})


@dataclass(frozen=True, slots=True)
class Line:
    """A row with its figures; `ok` is None where there is no bound."""

    row: Row
    samples: tuple[float, ...]
    figure: float
    ok: bool | None

    @property
    def held_to(self) -> str:
        """The figure and its bound in words, empty without either."""
        row = self.row
        shown = f"{self.figure:.2f}x" if row.against else row.unit.text(self.figure)
        if row.limit is None:
            return f"{shown} of {row.against}" if row.against else ""
        bound = f"{row.limit:g}x" if row.against else row.unit.text(row.limit)
        name = "" if row.statistic is Statistic.MEDIAN else f" ({row.statistic.value})"
        return f"{shown}{f' of {row.against}' if row.against else ''}{name} <= {bound}"


def lines(scenario: Scenario, samples: Mapping[str, Sequence[float]]) -> tuple[Line, ...]:
    """The scenario's rows that there are samples for."""
    return tuple(_line(row, samples) for row in scenario.rows if _is_there(row, samples))


def _is_there(row: Row, samples: Mapping[str, Sequence[float]]) -> bool:
    return bool(samples.get(row.series)) and (row.against is None or bool(samples.get(row.against)))


def _line(row: Row, samples: Mapping[str, Sequence[float]]) -> Line:
    own = tuple(samples[row.series])
    figure = stands_for(own, row.statistic)
    if row.against is not None:
        figure /= stands_for(samples[row.against], Statistic.MEDIAN)
    return Line(row, own, figure, None if row.limit is None else figure <= row.limit)


def table(scenario: Scenario, found: Sequence[Line]) -> str:
    """The scenario as text: a title and aligned columns."""
    cells = [_HEAD, *(_cells(line) for line in found)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_HEAD))]
    rows = (
        "  ".join(
            cell.rjust(width) if column in _NUMERIC else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )
    return "\n".join((f"{scenario.name}: {scenario.title}", *(f"  {row}" for row in rows)))


def _cells(line: Line) -> tuple[str, ...]:
    text = line.row.unit.text
    verdict = {None: "", True: "ok", False: "OVER"}[line.ok]
    return (
        line.row.title,
        str(len(line.samples)),
        text(stands_for(line.samples, Statistic.MEDIAN)),
        f"{text(min(line.samples))} - {text(max(line.samples))}",
        line.held_to,
        verdict,
    )


def as_json(found: Mapping[str, Iterable[Line]], samples: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """All figures and all samples: seconds, bytes, shares and counts without rounding."""
    return {
        "scenarios": {
            name: [
                {
                    "what": line.row.title.strip(),
                    "series": line.row.series,
                    "statistic": line.row.statistic.value,
                    "against": line.row.against,
                    "figure": line.figure,
                    "limit": line.row.limit,
                    "ok": line.ok,
                }
                for line in of_scenario
            ]
            for name, of_scenario in found.items()
        },
        "samples": {name: list(values) for name, values in samples.items()},
    }
