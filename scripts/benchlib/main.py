"""The command line: which scenarios, how often, and where the figures go."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchlib import idle, report, restarts, rollbacks, saves, starts, switches, tree
from benchlib.scenarios import RESTARTS, SCENARIOS, Probe, Scenario
from benchlib.series import Series
from benchlib.tool import REPO, BenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_ROUNDS: Final = 6
_BUSY: Final = 0.5
_PROBES: Final[dict[Probe, Callable[[Path, Series], None]]] = {
    Probe.SAVES: saves.measure,
    Probe.STARTS: starts.measure,
    Probe.IDLE: idle.measure,
    Probe.TREE: tree.measure,
    Probe.ROLLBACKS: rollbacks.measure,
    Probe.SWITCHES: switches.measure,
}


class _Arguments(argparse.Namespace):
    rounds: int
    scenario: list[str] | None
    json: Path | None
    list: bool
    check: bool


def main() -> int:
    """Measure, print, and with --check judge."""
    arguments = _parser().parse_args(namespace=_Arguments())
    chosen = _chosen(arguments.scenario)
    if arguments.list:
        for scenario in SCENARIOS:
            print(f"{scenario.name:18}{scenario.title}")
        return 0
    if "NIXVM_LOOP_WORLD" not in os.environ:
        _enter_world()
    try:
        return _measure(chosen, arguments)
    except BenchError as error:
        _say(f"error: {error}")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench", description="Measures nixvm-loop on the example guest, in a world of its own.", allow_abbrev=False
    )
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help="rounds of restart cycles (default: %(default)s)")
    parser.add_argument("--scenario", action="append", choices=names, metavar="NAME", help="only this one; repeatable")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures and samples to FILE")
    parser.add_argument("--check", action="store_true", help="exit 1 when a figure is over its bound")
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    return parser


def _chosen(names: Sequence[str] | None) -> tuple[Scenario, ...]:
    return tuple(scenario for scenario in SCENARIOS if names is None or scenario.name in names)


def _enter_world() -> None:
    python = REPO / ".venv/bin/python"
    if not python.exists():
        sys.exit("bench: run scripts/setup first")
    # The world cannot write into the checkout; an installed program would have come compiled.
    subprocess.run([python, "-m", "compileall", "-q", REPO / "nixvm_loop", REPO / "scripts/benchlib"], check=True)
    world = str(REPO / "scripts/world")
    os.execv(world, [world, "run", "--", str(python), str(REPO / "scripts/bench"), *sys.argv[1:]])  # noqa: S606  # an argv, no shell


def _measure(chosen: Sequence[Scenario], arguments: _Arguments) -> int:
    host = _host()
    _say(f"{host['cpus']} CPUs, load {host['load']:.2f}, {'KVM' if host['kvm'] else 'software emulation'}")
    if host["load"] > _BUSY:
        _say("the machine is busy: these figures say little")
    samples = _samples({probe for scenario in chosen for probe in scenario.probes}, arguments.rounds)
    found = {scenario.name: report.lines(scenario, samples) for scenario in chosen}
    for scenario in chosen:
        print("\n" + report.table(scenario, found[scenario.name]), flush=True)
    if arguments.json is not None:
        whole = {"host": host, "load_after": os.getloadavg()[0], **report.as_json(found, samples)}
        arguments.json.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    over = any(line.ok is False for lines in found.values() for line in lines)
    return 1 if over and arguments.check else 0


def _samples(probes: set[Probe], rounds: int) -> dict[str, list[float]]:
    series = Series()
    top = Path(tempfile.mkdtemp(prefix="bench-"))
    # QEMU's user must reach the guests' kernels.
    top.chmod(0o755)
    try:
        if arms := frozenset(probes & RESTARTS):
            restarts.measure(top, arms, rounds, series, _say)
            _power_off()
        for probe, measure in _PROBES.items():
            if probe in probes:
                _say(probe.value)
                measure(top, series)
                _power_off()
    finally:
        shutil.rmtree(top, ignore_errors=True)
    return series.samples


def _power_off() -> None:
    """The guests of one probe do not disturb the next. It is our world: all of them are ours."""
    names = subprocess.run(["virsh", "-q", "list", "--name"], capture_output=True, text=True, check=True)  # noqa: S607
    for name in names.stdout.split():
        subprocess.run(["virsh", "-q", "destroy", name], capture_output=True, check=False)  # noqa: S607


def _host() -> dict[str, Any]:
    return {
        "cpus": os.cpu_count(),
        "kvm": os.access("/dev/kvm", os.R_OK | os.W_OK),
        "load": os.getloadavg()[0],
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)
