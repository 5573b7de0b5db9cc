"""The pure parts together: the loop, the decision, and where to go back to, under any order of what can happen."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from nixvm_loop.decide import Seen, Wish, decide, fallback
from nixvm_loop.loop import (
    Begin,
    Built,
    CancelBuild,
    Changed,
    Effect,
    Ended,
    GuestLost,
    Input,
    LoopState,
    Phase,
    StartCycle,
    Work,
    step,
)
from nixvm_loop.model.settings import ApplyMode, OnChange
from nixvm_loop.model.values import Action, Artifacts, Generation, System, Verdict

CMDLINE = "console=ttyS0"


def artifacts(content: int) -> Artifacts:
    """The system of a content."""
    system = Path(f"/nix/store/{content}-system")
    return Artifacts(system, system / "kernel", system / "initrd", (), str(content))


def system(content: int) -> System:
    """The same as a decision sees it."""
    built = artifacts(content)
    return System(built.toplevel, CMDLINE, built.kernel, built.initrd)


def generation(number: int, content: int) -> Generation:
    """A generation of it."""
    built = artifacts(content)
    return Generation(number, Path(f"/{number}"), built.toplevel, built.kernel, built.initrd, CMDLINE)


@dataclass
class World:
    """A tree that is saved, a guest that boots what is good, and a cycle that does what the pure parts say.

    Contents 3, 6 and 9 do not build; 2, 5 and 8 do not boot.
    """

    content: int = 1
    runs: int | None = None  # the content of the guest's system
    current: Generation | None = None
    contents: dict[int, int] = field(default_factory=dict)
    good: list[Generation] = field(default_factory=list)
    failed: set[int] = field(default_factory=set)

    def boot(self, booted: Generation) -> bool:
        """Restart the guest; whether it came up."""
        content = self.contents[booted.number]
        self.current = booted
        self.runs = content if content % 3 != 2 else None
        return self.runs is not None

    def cycle(self, effect: StartCycle) -> Verdict:
        """One that nothing cancels."""
        if effect.work is Work.BOOT:
            return self.tried(self.current) if self.current is not None else Verdict.FAILED
        if self.content % 3 == 0:
            return Verdict.FAILED
        running = self.runs is not None
        sound = self.current is not None and self.runs == self.contents[self.current.number]
        current = None if self.current is None else system(self.contents[self.current.number])
        seen = Seen(running, None if sound else "it runs something else", current=current)
        decision = decide(Wish.AS_NEEDED, ApplyMode.RESTART, system(self.content), seen)
        if decision.action is Action.NONE:
            assert self.runs == self.content
            return Verdict.UNCHANGED
        assert self.runs != self.content, "a restart for an unchanged system"
        if self.content in self.failed:
            assert running or not self.good or self.boot(self.good[-1])
            return Verdict.FAILED
        number = len(self.contents) + 1
        self.contents[number] = self.content
        return self.tried(generation(number, self.content))

    def tried(self, candidate: Generation) -> Verdict:
        """Boot it, or go back."""
        before = self.current
        if self.boot(candidate):
            self.good.append(candidate)
            return Verdict.OK
        self.failed.add(self.contents[candidate.number])
        back = fallback(candidate.number, before, self.good[::-1], wanted=True, redefined=False)
        if isinstance(back, Generation):
            assert self.boot(back)
        return Verdict.FAILED


@dataclass
class Run:
    """The loop at work in a world."""

    world: World
    state: LoopState
    inputs: deque[Input] = field(default_factory=deque)
    cycle: StartCycle | None = None

    def feed(self, first: Input) -> None:
        """Give the loop an input and do what it says."""
        self.state, effects = step(self.state, first)
        for effect in effects:
            self.carry_out(effect)

    def carry_out(self, effect: Effect) -> None:
        """A cycle runs until somebody lets it end."""
        if isinstance(effect, StartCycle):
            assert self.cycle is None
            self.cycle = effect
        elif isinstance(effect, CancelBuild):
            self.cycle = None
            self.inputs.append(Ended(Verdict.CANCELLED))

    def finish(self) -> None:
        """The running cycle comes to its end."""
        while self.inputs:
            self.feed(self.inputs.popleft())
        if self.cycle is not None:
            effect = self.cycle
            if effect.work is Work.BUILD and self.world.content % 3 != 0:
                self.feed(Built())
            verdict, self.cycle = self.world.cycle(effect), None
            self.feed(Ended(verdict))


happenings = st.lists(st.one_of(st.integers(1, 9), st.sampled_from(["finish", "crash"])), max_size=40)


@given(happenings, st.sampled_from(OnChange))
def test_in_the_end_the_guest_runs_the_newest_or_a_verified_system(found: list[int | str], policy: OnChange) -> None:
    """No save is lost, nothing restarts for nothing, and no guest stays on a bad system while there is a good one."""
    run = Run(World(), LoopState(policy))
    run.feed(Begin())
    for happening in found:
        if isinstance(happening, int):
            run.world.content = happening
            run.feed(Changed(frozenset({Path("/a")})))
        elif happening == "finish":
            run.finish()
        elif run.world.runs is not None:
            run.world.runs = None
            run.feed(GuestLost())
    while run.cycle is not None or run.inputs:
        run.finish()
    world = run.world
    assert run.state.phase is Phase.IDLE
    assert not run.state.waiting
    if world.content % 3 == 1 and not run.state.lost:
        assert world.runs == world.content
    elif world.good and not run.state.lost:
        assert world.runs is not None
        assert world.runs % 3 == 1
