from __future__ import annotations

import json

from benchlib import report
from benchlib.scenarios import RESTARTS, SCENARIOS, Probe, Row, Scenario
from benchlib.series import Statistic, Unit

SCENARIO = Scenario(
    "example",
    "an example",
    (Probe.HAND, Probe.REBUILD),
    (
        Row("by hand", "hand"),
        Row("by the tool", "tool", limit=0.8, against="hand"),
        Row("slow ones", "latency", Unit.MILLISECONDS, Statistic.P95, limit=0.2),
        Row("never measured", "nothing", limit=1.0),
    ),
)
SAMPLES = {"hand": [10.0, 12.0, 11.0], "tool": [9.0, 7.0, 8.8], "latency": [0.1, 0.25]}


def test_a_ratio_is_of_medians_and_judged_by_its_limit() -> None:
    """8.8 s of 11 s is exactly 0.80, which is allowed; a 95th percentile of 250 ms is over 200 ms."""
    hand, tool, slow = report.lines(SCENARIO, SAMPLES)
    assert (hand.ok, tool.ok, slow.ok) == (None, True, False)
    assert tool.figure == 0.8


def test_a_ratio_without_its_baseline_is_left_out() -> None:
    """One scenario alone may lack another's series; nothing is divided by nothing."""
    assert [line.row.series for line in report.lines(SCENARIO, {"tool": [1.0]})] == []


def test_the_table_has_medians_ranges_and_verdicts() -> None:
    """The whole text, so that every column's place and word is seen."""
    assert report.table(SCENARIO, report.lines(SCENARIO, SAMPLES)).splitlines() == [
        "example: an example",
        "  what         n   median          min - max  held to",
        "  by hand      3  11.00 s  10.00 s - 12.00 s",
        "  by the tool  3   8.80 s    7.00 s - 9.00 s  0.80x of hand <= 0.8x               ok",
        "  slow ones    2   175 ms    100 ms - 250 ms  250 ms (95th percentile) <= 200 ms  OVER",
    ]


def test_json_holds_figures_and_samples() -> None:
    """Programs get every sample unrounded, and the verdicts."""
    found = {SCENARIO.name: report.lines(SCENARIO, SAMPLES)}
    whole = json.loads(json.dumps(report.as_json(found, SAMPLES)))
    assert whole["samples"] == SAMPLES
    assert [row["ok"] for row in whole["scenarios"]["example"]] == [None, True, False]
    assert whole["scenarios"]["example"][1]["limit"] == 0.8


def test_scenarios_have_names_of_their_own_and_bounds() -> None:
    """A scenario that is held to nothing measures for nobody, and --scenario needs distinct names."""
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)
    assert all(any(row.limit is not None for row in scenario.rows) for scenario in SCENARIOS)


def test_every_probe_is_used_by_a_scenario() -> None:
    """What nothing asks for would never be measured."""
    assert {probe for scenario in SCENARIOS for probe in scenario.probes} == set(Probe)
    assert set(Probe) > RESTARTS
