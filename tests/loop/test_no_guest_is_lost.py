"""The pure parts together: the loop, the decision, and where to go back to, under any order of what can happen."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from nixvm_loop.decide import Seen, Wish, decide, fallback, same_system
from nixvm_loop.loop import (
    REVIVALS,
    Begin,
    Built,
    CancelBuild,
    Changed,
    Effect,
    Ended,
    Exit,
    GuestLost,
    Input,
    LoopState,
    Ordered,
    Phase,
    StartCycle,
    Stop,
    StopCycle,
    Work,
    step,
)
from nixvm_loop.model.settings import ApplyMode, OnChange
from nixvm_loop.model.values import Action, Artifacts, Generation, System, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

CMDLINE: Final = "console=ttyS0"
# What a cycle passes on its way; between them anything may happen.
Point: TypeAlias = str
BUILDING, BUILT, FLIPPED, BOOTED = "building", "built", "flipped", "booted"


class Kind(Enum):
    """What becomes of a system."""

    GOOD = auto()
    NO_BUILD = auto()
    NO_BOOT = auto()
    BAD = auto()  # it runs, but fails a check
    ONCE = auto()  # it passes at its first boot alone

    @classmethod
    def of(cls, content: int) -> Kind:
        """A third is good."""
        return (cls.GOOD, cls.NO_BUILD, cls.NO_BOOT, cls.BAD, cls.ONCE, cls.GOOD)[content % 6]


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
class Record:
    """What the disk holds of a generation."""

    generation: Generation
    content: int
    verified: bool = False
    failure: bool = False


def booting(record: Record | None) -> Generation | None:
    """Its generation, if there is one."""
    return None if record is None else record.generation


@dataclass
class Guest:
    """One boot; `sound` is what its checks would say, `verified` whether they were asked."""

    content: int
    sound: bool
    verified: bool = False


@dataclass
class World:
    """A tree that is saved, a guest that runs what boots, and cycles that do what the pure parts say.

    Attributes:
        saves: How often the tree was saved.
        served: Up to which save a build that came to its end has seen.
        gave_up: Whether the last cycle that came to the guest said that it does not know any further.
        crashed: Whether the guest crashed since the last cycle began.
    """

    content: int = 0
    saves: int = 0
    served: int = 0
    guest: Guest | None = None
    current: Record | None = None
    records: list[Record] = field(default_factory=list)
    boots: Counter[int] = field(default_factory=Counter)
    gave_up: bool = False
    crashed: bool = False
    last: Work = Work.BUILD

    def good(self) -> list[Record]:
        """As the store sorts them: the newest first, those that failed since at the end."""
        return sorted((one for one in self.records[::-1] if one.verified), key=lambda one: one.failure)

    def cycle(self, work: Work, number: int | None) -> Generator[Point, None, Verdict]:
        """One cycle; `number` is the generation that somebody asked for."""
        self.crashed = False
        self.last = work
        if work is Work.BUILD:
            return (yield from self.built())
        self.gave_up = False
        candidate = self.current if number is None else self.records[number - 1]
        if candidate is None:
            return Verdict.FAILED
        return (yield from self.put_to_work(candidate))

    def built(self) -> Generator[Point, None, Verdict]:
        """A cycle that builds what the tree holds when it begins."""
        content, saves = self.content, self.saves
        yield BUILDING
        self.served = saves
        if Kind.of(content) is Kind.NO_BUILD:
            return Verdict.FAILED
        yield BUILT
        self.gave_up = False
        made, current = artifacts(content), self.current
        same = same_system(made, CMDLINE, booting(current))
        trouble = self.look() if same else None
        defined = None if current is None else system(current.content)
        seen = Seen(running=self.guest is not None, trouble=trouble, current=defined)
        decision = decide(Wish.AS_NEEDED, ApplyMode.RESTART, system(content), seen)
        if decision.action is Action.NONE:
            assert self.guest is not None
            assert (self.guest.content, self.guest.verified) == (content, True)
            return Verdict.UNCHANGED
        runs = self.guest is not None and self.guest.content == content and self.guest.sound
        assert not (same and runs), "a restart for an unchanged system"
        known = next((one for one in self.records[::-1] if one.content == content), None)
        if known is not None and known.failure and not known.verified:
            if current is known or self.look() is not None:
                yield from self.fall_back(known, current)
            return Verdict.FAILED
        if same and current is not None:
            return (yield from self.put_to_work(current))
        self.records.append(Record(generation(len(self.records) + 1, content), content))
        return (yield from self.put_to_work(self.records[-1]))

    def look(self) -> str | None:
        """Whether the guest is sound on the current generation; then it is verified."""
        if self.guest is None or self.current is None or self.guest.content != self.current.content:
            return "it runs something else"
        if not self.guest.sound:
            return "a check failed"
        self.current.verified = self.guest.verified = True
        return None

    def put_to_work(self, candidate: Record) -> Generator[Point, None, Verdict]:
        """Boot it, or go back."""
        before = self.current
        if (yield from self.trial(candidate)):
            return Verdict.OK
        yield from self.fall_back(candidate, before)
        return Verdict.FAILED

    def fall_back(self, failed: Record, before: Record | None) -> Generator[Point, None, None]:
        """Back to where the pure part says."""
        good = [one.generation for one in self.good()]
        back = fallback(failed.generation.number, booting(before), good, wanted=True, redefined=False)
        if isinstance(back, str):
            assert not [one for one in good if one.number != failed.generation.number]
            self.gave_up = True
            return
        usual = before is not None and before.verified and before is not failed
        assert back == (
            booting(before) if usual else next(one for one in good if one.number != failed.generation.number)
        )
        if not (yield from self.trial(self.records[back.number - 1])):
            assert self.crashed or Kind.of(self.records[back.number - 1].content) is Kind.ONCE
            self.gave_up = True

    def trial(self, candidate: Record) -> Generator[Point, None, bool]:
        """One boot of one generation, and what is written down of it."""
        self.current = candidate
        yield FLIPPED
        kind = Kind.of(candidate.content)
        sound = kind is Kind.GOOD or (kind is Kind.ONCE and not self.boots[candidate.content])
        self.boots[candidate.content] += 1
        self.guest = started = Guest(candidate.content, sound) if kind is not Kind.NO_BOOT else None
        yield BOOTED
        if started is not None and self.guest is None:
            return False  # QEMU died: the system is not to blame
        candidate.failure = not sound
        if self.guest is None or not sound:
            return False
        candidate.verified = self.guest.verified = True
        return True


@dataclass
class Run:
    """The loop at work in a world."""

    world: World
    policy: OnChange
    state: LoopState = field(init=False)
    inputs: deque[Input] = field(default_factory=deque)
    cycle: Generator[Point, None, Verdict] | None = None
    point: Point = ""
    orders: dict[int, int | None] = field(default_factory=dict)
    owed: set[int] = field(default_factory=set)
    serving: int | None = None
    begun_anew: bool = False

    def __post_init__(self) -> None:
        self.state = LoopState(self.policy)
        self.feed(Begin())

    def anew(self) -> None:
        """Another loop in the same world; what the former one was doing is cut short."""
        self.state, self.cycle, self.begun_anew = LoopState(self.policy), None, True
        self.inputs.clear()
        self.orders.clear()
        self.owed.clear()
        self.feed(Begin())

    def feed(self, first: Input) -> None:
        """Give the loop an input and do what it says."""
        self.state, effects = step(self.state, first)
        for effect in effects:
            self.carry_out(effect)

    def carry_out(self, effect: Effect) -> None:
        """A cycle goes on when somebody lets it."""
        match effect:
            case StartCycle(_, order, work):
                assert self.cycle is None
                self.serving = None if order is None else order.ticket
                self.cycle = self.world.cycle(work, None if order is None else self.orders[order.ticket])
                self.point = ""
            case CancelBuild():
                assert self.point in {"", BUILDING}
                self.end(Verdict.CANCELLED)
            case StopCycle():
                # What is critical, from the flip to the start, is finished first.
                while self.point == FLIPPED and self.cycle is not None:
                    self.point = next(self.cycle)
                self.end(Verdict.CANCELLED)
            case Exit():
                self.anew()

    def end(self, verdict: Verdict) -> None:
        """The running cycle is over; the loop hears of it in its turn."""
        if self.cycle is not None:
            self.cycle = None
            self.owed -= {self.serving} if verdict is not Verdict.CANCELLED else set()
            self.inputs.append(Ended(verdict))

    def go(self) -> None:
        """Something that is under way goes on a little."""
        if self.inputs:
            self.feed(self.inputs.popleft())
        elif self.cycle is not None:
            try:
                self.point = next(self.cycle)
            except StopIteration as ended:
                self.end(ended.value)
            else:
                if self.point == BUILT:
                    self.feed(Built())

    def settle(self) -> None:
        """All that is under way comes to its end."""
        while self.cycle is not None or self.inputs:
            self.go()

    def save(self, content: int) -> None:
        """The tree is saved."""
        self.world.content = content
        self.world.saves += 1
        self.feed(Changed(frozenset({Path("/a")})))

    def order(self, work: Work) -> None:
        """Somebody asks for a build, or for the newest good generation before the current one."""
        current = self.world.current
        numbers = [one.generation.number for one in self.world.records if one.verified]
        older = [one for one in numbers if current is None or one < current.generation.number]
        if work is Work.BUILD or older:
            ticket = len(self.orders) + 1
            self.orders[ticket] = max(older) if work is Work.BOOT else None
            self.owed.add(ticket)
            self.feed(Ordered(ticket, work))

    def crash(self) -> None:
        """QEMU dies; while a cycle applies something, that cycle alone is told."""
        if self.world.guest is not None:
            self.world.guest, self.world.crashed = None, True
            if self.state.phase is not Phase.APPLYING or self.cycle is None:
                self.inputs.append(GuestLost())

    def happen(self, happening: int | str) -> None:
        """A save, or one of the others by its name."""
        if isinstance(happening, int):
            self.save(happening)
            return
        others: dict[str, Callable[[], None]] = {
            "go": self.go,
            "settle": self.settle,
            "crash": self.crash,
            "build": lambda: self.order(Work.BUILD),
            "boot": lambda: self.order(Work.BOOT),
            "stop": lambda: self.feed(Stop("asked to")),
            "kill": self.anew,
        }
        others[happening]()


happenings = st.lists(
    st.one_of(
        st.integers(0, 11),
        st.sampled_from(["go", "go", "settle", "settle", "crash", "build", "boot", "stop", "kill"]),
    ),
    max_size=40,
)


@settings(max_examples=600)
@given(happenings, st.sampled_from(OnChange))
def test_in_the_end_the_guest_runs_the_newest_or_a_verified_system(found: list[int | str], policy: OnChange) -> None:
    """No save or order is lost, nothing restarts for nothing, none stays on a bad system with a good one at hand."""
    run = Run(World(), policy)
    for happening in found:
        run.happen(happening)
    run.settle()
    world, state = run.world, run.state
    assert state.phase is Phase.IDLE
    assert not state.waiting
    assert not state.orders
    assert not run.owed
    assert world.served == world.saves
    left_alone = state.lost and state.revivals >= REVIVALS
    if left_alone or world.gave_up:
        return  # which was said
    builds = Kind.of(world.content) is not Kind.NO_BUILD
    if Kind.of(world.content) is Kind.GOOD and world.last is Work.BUILD and not world.crashed:
        assert world.guest is not None
        assert world.guest.content == world.content
    # A loop that begins with a tree that does not build leaves the guest as it found it.
    if world.good() and (builds or not run.begun_anew):
        assert world.guest is not None
        assert world.guest.verified
