"""SIGKILL at random moments of a cycle: what is left is never a mix, and the next command finishes or undoes it.

Half of the kills hit nixvm-loop itself, the others what it works with. How many and with which seed: $NIXVM_LOOP_KILLS
and $NIXVM_LOOP_SEED; scripts/faults sets them for the full run.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from lxml import etree

from tests.e2e import victims

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.lab import Lab

KILLS: Final = int(os.environ.get("NIXVM_LOOP_KILLS", "6"))
SEED: Final = int(os.environ.get("NIXVM_LOOP_SEED", "1545"))
# A cycle with a restart takes about that long here; later moments are after its end.
CYCLE_S: Final = 6.5
EARLY_S: Final = 1.6
BUILD_S: Final = 0.6
# Of the kills of nixvm-loop, so many are aimed at the flip, which is too short to be met otherwise.
AT_FLIP: Final = 0.15
FLIP_S: Final = 0.006
LIBVIRTD_AWAY_S: Final = 1.5
# The guest's boot_timeout, and what a rollback takes.
ENDS_WITHIN_S: Final = 75
FULL_CHECK_EVERY: Final = min(5, KILLS // 2)
BAD: Final = 0.2
PANICS: Final = 'startup = "echo broken >/dev/console; exit 1"'
NO_STARTUP: Final = 'startup = ""'
OURS, NIX, VIRTIOFSD, QEMU, LIBVIRTD = "nixvm-loop", "nix", "virtiofsd", "QEMU", "libvirtd"
DECK: Final = (OURS, OURS, OURS, OURS, NIX, VIRTIOFSD, QEMU, LIBVIRTD)
BUILD_FAILED: Final = 3
# What a system that boots may come to when somebody else died under the cycle.
CODES: Final = {NIX: {0, BUILD_FAILED, 6}, VIRTIOFSD: {0, 5, 6}, QEMU: {0, 5, 6}, LIBVIRTD: {0, 5}}
STAGES: Final = ("not begun", "build", "eval", "realise", "flip", "domain", "boot", "verify", "ended")


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Iterator[Lab]:
    """A guest with a verified generation."""
    lab = make_lab()
    assert lab.loop("create", "--start").returncode == 0
    yield lab
    lab.remove()


@dataclass
class Rebuild:
    """A `rebuild` under way, whose output goes to files; its nix works alone, or ("daemon") through nix-daemon."""

    lab: Lab
    nix_remote: str
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        with (self.lab.folder / "events").open("wb") as out, (self.lab.folder / "errors").open("wb") as errors:
            self.process = subprocess.Popen(
                ["nixvm-loop", "rebuild", "-o", "json"],
                cwd=self.lab.folder, stdout=out, stderr=errors, env={**os.environ, "NIX_REMOTE": self.nix_remote},
            )  # fmt: skip

    def events(self) -> list[dict[str, Any]]:
        """What it has told so far."""
        lines = (self.lab.folder / "events").read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def stage(self) -> str:
        """The stage that it has told of last."""
        events = self.events()
        if any(event["type"] == "cycle_finished" for event in events):
            return "ended"
        stages = [str(event["stage"]) for event in events if event["type"] == "stage_started"]
        return stages[-1] if stages else "not begun"

    def kill(self) -> str:
        """Kill it; the stage in which it was."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)
        return self.stage()

    def await_flip(self) -> None:
        """Wait for the flip, if there is one."""
        while self.process.poll() is None and b'"generation_flipped"' not in (self.lab.folder / "events").read_bytes():
            time.sleep(0.001)

    def kill_other(self, find: Callable[[Lab], list[int]], chance: random.Random) -> str | None:
        """Kill one of those, as soon as there is one; the stage in which that was, None if there was none any more."""
        while not (found := find(self.lab)) and self.process.poll() is None:
            time.sleep(0.01)
        stage = self.stage()
        victims.kill([chance.choice(found)] if found else [])
        return stage if found else None

    def kill_libvirtd(self, away_s: float) -> str:
        """Kill libvirtd, and start it again after a while; the stage in which it died."""
        libvirtd = victims.Daemon.named("libvirtd")
        stage = self.stage()
        libvirtd.kill()
        time.sleep(away_s)
        victims.start_libvirtd(libvirtd, self.lab)
        return stage

    def end(self, codes: set[int]) -> int:
        """It ends by itself, with one of these codes, and has said why it failed if it did."""
        code = self.process.wait(ENDS_WITHIN_S)
        last, said = self.events()[-1], (self.lab.folder / "errors").read_text()
        assert "Traceback" not in said, said
        assert code in codes, f"{code}: {last} {said}"
        assert (last["type"], last["exit_code"]) == ("cycle_finished", code), last
        assert (last["error"] is None) == (code == 0), last
        assert code == 0 or last["error"]["message"] in said, said
        return code


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
    known = {about(path.parent)["toplevel"] for path in lab.state.glob("generations/*/generation.json")}
    if not domain_boots(lab) <= known:
        found.append(f"the domain boots {domain_boots(lab)}, which no generation knows")
    return found


def domain_boots(lab: Lab) -> set[str]:
    """The systems that the domain's command line names; only one is right."""
    cmdline = etree.fromstring(lab.virsh("dumpxml", "--inactive", lab.name)).findtext("os/cmdline") or ""
    return {word.removeprefix("init=").removesuffix("/init") for word in cmdline.split() if word.startswith("init=")}


def apart(lab: Lab) -> bool:
    """Whether the domain boots another system than `current` names."""
    return domain_boots(lab) != {about(lab.state / "current")["toplevel"]}


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


@dataclass
class Run:
    """The turns of one run, and what came of them."""

    lab: Lab
    chance: random.Random
    turn: int = 0
    kills: int = 0
    windows: int = 0
    left_bad: int = 0
    deck: list[str] = field(default_factory=list)
    where: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in dict.fromkeys(DECK)})

    def save(self, *, bad: bool) -> None:
        """A new system, that panics or does not."""
        changed = {"motd =": f'  motd = "Turn {self.turn}.";', "startup =": f"  {PANICS if bad else NO_STARTUP};"}
        text = (self.lab.flake / "configuration.nix").read_text().splitlines()
        lines = [next((new for key, new in changed.items() if key in line), line) for line in text]
        self.lab.write(self.lab.flake / "configuration.nix", "\n".join(lines) + "\n")

    def take(self) -> None:
        """One kill, and a look at what it left; at times with the next command after it."""
        self.turn += 1
        full = self.turn % FULL_CHECK_EVERY == 0
        # Every second time the next command meets a system that panics.
        stays = full and self.turn // FULL_CHECK_EVERY % 2 == 1
        bad = stays or self.chance.random() < BAD
        self.save(bad=bad)
        window = self.killed(bad=bad)
        assert mixes(self.lab) == [], self.turn
        assert self.lab.loop("status").returncode == 0, self.turn
        if full or window:
            self.next_command(stays=stays)

    def next_command(self, *, stays: bool) -> None:
        """Whatever the last kill left, the next `rebuild` makes it whole; with a system that panics if that `stays`."""
        self.left_bad += stays
        self.save(bad=stays)
        self.bad_again() if stays else self.good_again()
        assert mixes(self.lab) == [], self.turn
        assert not apart(self.lab), self.turn
        assert leftovers(self.lab) == [], self.turn

    def killed(self, *, bad: bool) -> bool:
        """Kill somebody in a cycle; whether that hit the moment between the flip and the definition."""
        self.deck = self.deck or self.chance.sample(DECK, len(DECK))
        victim, rebuild = self.deck.pop(), Rebuild(self.lab, self.chance.choice(["", "daemon"]))
        # Most of a cycle is the boot; what could be left half done is before it.
        until_s = self.chance.choice([EARLY_S, EARLY_S, 2 * CYCLE_S if bad else CYCLE_S])
        after_s = self.chance.uniform(0, BUILD_S if victim == NIX else until_s)
        if victim == OURS and self.chance.random() < AT_FLIP:
            rebuild.await_flip()
            after_s = self.chance.uniform(0, FLIP_S)
        time.sleep(after_s)
        stage = self.hit(victim, rebuild)
        if stage is not None:
            self.kills += 1
            self.where[victim][stage] += 1
        if victim != OURS:
            code = rebuild.end(CODES[victim] | ({6} if bad else set()))
            left = leftovers(self.lab)
            # Who does not come to the domain, or to libvirt, cannot mend one that was left paused.
            unmended = code == BUILD_FAILED or victim == LIBVIRTD
            left = [one for one in left if "paused: " not in one] if unmended else left
            assert left == [], (self.turn, victim, stage, code)
        between = apart(self.lab)
        self.windows += between
        # Of the others, only libvirtd takes part in that moment.
        assert not between or (stage == "flip" and victim in {OURS, LIBVIRTD}), (self.turn, victim, stage)
        return between

    def hit(self, victim: str, rebuild: Rebuild) -> str | None:
        """Kill one; the stage in which that was."""
        if victim == OURS:
            return rebuild.kill()
        if victim == LIBVIRTD:
            return rebuild.kill_libvirtd(self.chance.uniform(0, LIBVIRTD_AWAY_S))
        find = {NIX: victims.nix, VIRTIOFSD: victims.virtiofsd, QEMU: victims.qemu}[victim]
        return rebuild.kill_other(find, self.chance)

    def good_again(self) -> None:
        """The next `rebuild` ends on what the flake says."""
        done = self.lab.loop("rebuild")
        assert done.returncode == 0, f"{self.turn}: {done.stdout}{done.stderr}"
        assert self.lab.booted() == self.lab.toplevel(), self.turn
        assert self.lab.guest("cat /etc/motd") == f"Turn {self.turn}."

    def bad_again(self) -> None:
        """With a system that panics the next `rebuild` fails, and the guest runs the last good one, verified."""
        done = self.lab.loop("rebuild")
        said = done.stdout + done.stderr
        assert done.returncode == 6, f"{self.turn}: {said}"
        assert "rolled back to generation" in said or "failed before" in said, said
        current = about(self.lab.state / "current")
        assert current["verified"], current
        assert not current.get("failure"), current
        assert self.lab.booted() == current["toplevel"] != self.lab.toplevel(), self.turn
        assert self.lab.loop("verify").returncode == 0, self.turn

    def report(self) -> str:
        """The counts, for scripts/faults."""
        met = f"{self.windows} between flip and definition, {self.left_bad} times a bad system met again"
        lines = [f"{self.kills} kills, seed {SEED}: {met}"]
        for victim, counts in self.where.items():
            stages = ", ".join(f"{stage} {counts[stage]}" for stage in STAGES if counts[stage])
            lines.append(f"  {victim} {counts.total()}: {stages}")
        return "\n".join(lines)


@pytest.mark.timeout(60 + 90 * KILLS)
def test_kills_at_random_moments(lab: Lab) -> None:
    """Nothing is ever a mix, `status` always answers, and the next cycle ends on what is good."""
    run = Run(lab, random.Random(SEED))  # noqa: S311  # the same moments each time
    try:
        while run.kills < KILLS:
            run.take()
        run.next_command(stays=False)
    finally:
        print(f"\n{run.report()}")  # noqa: T201  # for scripts/faults
