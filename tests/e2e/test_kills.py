"""SIGKILL at random moments of a cycle: what is left is never a mix, and the next command finishes or undoes it.

How many and with which seed: $NIXVM_LOOP_KILLS and $NIXVM_LOOP_SEED; scripts/faults sets them for the full run.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from lxml import etree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.lab import Lab

KILLS: Final = int(os.environ.get("NIXVM_LOOP_KILLS", "6"))
SEED: Final = int(os.environ.get("NIXVM_LOOP_SEED", "4711"))
# A cycle with a restart takes about that long here; later moments are after its end.
CYCLE_S: Final = 6.5
EARLY_S: Final = 1.6
FULL_CHECK_EVERY: Final = 5
PANICS: Final = 'startup = "echo broken >/dev/console; exit 1"'
STAGES: Final = ("not begun", "build", "eval", "realise", "flip", "domain", "boot", "verify", "ended")


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Iterator[Lab]:
    """A guest with a verified generation."""
    lab = make_lab()
    assert lab.loop("create", "--start").returncode == 0
    yield lab
    lab.remove()


def killed(lab: Lab, after_s: float) -> str:
    """Kill a `rebuild` that many seconds after its start; the stage that it had told of last."""
    process = subprocess.Popen(
        ["nixvm-loop", "rebuild", "-o", "json"],
        cwd=lab.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    time.sleep(after_s)
    process.send_signal(signal.SIGKILL)
    text, _ = process.communicate(timeout=20)
    events = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    if any(event["type"] == "cycle_finished" for event in events):
        return "ended"
    stages = [str(event["stage"]) for event in events if event["type"] == "stage_started"]
    return stages[-1] if stages else "not begun"


def about(folder: Path) -> dict[str, Any]:
    """What a generation's folder says of itself."""
    value: dict[str, Any] = json.loads((folder / "generation.json").read_text())
    return value


def mixes(lab: Lab) -> list[str]:
    """What on disk is neither an old nor a new state. A slot without generation.json is not yet a state."""
    found = []
    current = lab.state / "current"
    if not (current / "generation.json").exists():
        return [f"current names {current.readlink()}, which is no generation"]
    for folder in (lab.state / "generations").iterdir():
        if not (folder / "generation.json").exists():
            continue
        facts = about(folder)
        wrong = [name for name in ("toplevel", "kernel", "initrd") if str((folder / name).readlink()) != facts[name]]
        found += [f"{folder}: its {name} is not what it says" for name in wrong]
        if f"init={facts['toplevel']}/init" not in (folder / "cmdline").read_text():
            found.append(f"{folder}: its cmdline boots something else")
    system = etree.fromstring(lab.virsh("dumpxml", "--inactive", lab.name)).find("os")
    assert system is not None
    known = {f"init={about(path.parent)['toplevel']}/init" for path in lab.state.glob("generations/*/generation.json")}
    words = (system.findtext("cmdline") or "").split()
    if not known & set(words):
        found.append(f"the domain boots {words}, of which no generation knows")
    return found


def leftovers(lab: Lab) -> list[str]:
    """What a finished command may not leave: processes, slots, files beside, roots of nothing."""
    found = [f"stray: {line}" for line in lab.strays()]
    folders = list((lab.state / "generations").iterdir())
    found += [f"slot: {path}" for path in folders if not (path / "generation.json").exists()]
    found += [f"file: {path}" for path in lab.state.rglob("*.tmp")]
    roots = {os.readlink(path) for path in Path("/nix/var/nix/gcroots/auto").iterdir()}  # noqa: PTH115  # as it is written
    ours = {root for root in roots if root.startswith(f"{lab.state}/") and os.path.lexists(root)}
    found += [f"root: {root}" for root in ours ^ {f"{path}/toplevel" for path in folders}]
    return found


@pytest.mark.timeout(60 + 60 * KILLS)
def test_kills_at_random_moments(lab: Lab) -> None:
    """Nothing is ever a mix, `status` always answers, and the next cycle ends on what the flake says."""
    chance = random.Random(SEED)  # noqa: S311  # the same moments each time
    where: Counter[str] = Counter()
    for turn in range(1, KILLS + 1):
        bad = chance.random() < 0.2
        startup = PANICS if bad else 'startup = ""'
        text = (lab.flake / "configuration.nix").read_text().splitlines()
        changed = [
            f'  motd = "Turn {turn}.";' if "motd =" in line else f"  {startup};" if "startup =" in line else line
            for line in text
        ]
        lab.write(lab.flake / "configuration.nix", "\n".join(changed) + "\n")
        # Most of a cycle is the boot; what could be left half done is before it.
        until_s = chance.choice([EARLY_S, EARLY_S, 2 * CYCLE_S if bad else CYCLE_S])
        where[killed(lab, chance.uniform(0, until_s))] += 1
        assert mixes(lab) == [], turn
        assert lab.loop("status").returncode == 0, turn
        if turn % FULL_CHECK_EVERY == 0 or turn == KILLS:
            lab.edit("configuration.nix", f"{startup};", 'startup = "";') if bad else None
            done = lab.loop("rebuild")
            assert done.returncode == 0, f"{turn}: {done.stdout}{done.stderr}"
            assert lab.booted() == lab.toplevel(), turn
            assert lab.guest("cat /etc/motd") == f"Turn {turn}."
            assert mixes(lab) == [], turn
            assert leftovers(lab) == [], turn
    print(f"\n{KILLS} kills, seed {SEED}: " + ", ".join(f"{stage} {where[stage]}" for stage in STAGES if where[stage]))  # noqa: T201  # for scripts/faults
