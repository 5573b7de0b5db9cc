"""A look at the guest that runs, before anything is done to it: what is it, and may it stay as it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nixvm_loop import guest as guest_room
from nixvm_loop import nix
from nixvm_loop.cycle.boot import connect
from nixvm_loop.cycle.observe import Look, new_paths, observe
from nixvm_loop.cycle.stage import stage
from nixvm_loop.cycle.trial import required_that_failed
from nixvm_loop.decide import Seen, Wish, may_switch
from nixvm_loop.errors import AccessError, DomainError, GenerationError, GuestError
from nixvm_loop.model.values import Action, Stage

if TYPE_CHECKING:
    from nixvm_loop.cycle.context import Context
    from nixvm_loop.cycle.site import Site
    from nixvm_loop.domain import Domain
    from nixvm_loop.events.types import Emit
    from nixvm_loop.model.facts import GuestFacts
    from nixvm_loop.model.values import Check, Generation, System

_LOOK_TIMEOUT_S: Final = 10.0
_SIGHT_TIMEOUT_S: Final = 10.0
# Of a guest, so long ago, that nobody started anew meanwhile.
_FRESH_S: Final = 2.0
_OFF: Final = frozenset({"shut off", "crashed"})


@dataclass(frozen=True, slots=True)
class Sight:
    """What the guest said of itself.

    Attributes:
        runs: The toplevel that it runs now.
        booted: The generation that it booted, None when that is none of ours.
        probed: Whether the facts are whole: those that take a probe decide nothing here, and may come later.
    """

    facts: GuestFacts
    runs: Path
    booted: Generation | None
    probed: bool

    def booted_system(self) -> System | None:
        """What only a boot puts in place, as the guest booted it."""
        return None if self.booted is None else nix.read_system(self.booted.toplevel, self.booted.cmdline)


@dataclass(frozen=True, slots=True)
class Early:
    """What was found out while Nix built: the guest's answer, or why there is none.

    Attributes:
        asked_s: When the question was put, by the clock's monotonic time; when it failed, if it did.
        mark: Of the domain's run then; None for one that somebody else started.
        heard_by: The connection that brought the answer.
    """

    found: Sight | GuestError
    asked_s: float
    mark: str | None
    heard_by: guest_room.Connection | None

    def is_young(self, context: Context) -> bool:
        """Whether it was asked a moment ago."""
        return context.clock.monotonic() - self.asked_s <= _FRESH_S

    async def holds(self, context: Context, domain: Domain) -> bool:
        """Whether it was asked a moment ago, in this run of the domain, on the connection that is still there."""
        there = self.heard_by is not None and self.heard_by is context.link.ssh and not self.heard_by.closed
        return self.is_young(context) and there and self.mark is not None and await domain.boot_mark() == self.mark


async def early_sight(context: Context, wish: Wish) -> Early | None:
    """Ask while Nix builds, so that nobody waits for the answer, nor for one that does not come; None if it is off.

    If a live switch may follow, the guest is made ready for it.
    """
    mark, asked_s = None, context.clock.monotonic()
    try:
        domain = await context.link.domain()
        if await domain.state() != "running":
            return None
        mark, asked_s = await domain.boot_mark(), context.clock.monotonic()
        seen = await _ask(context, domain, lambda _: None)
        if context.link.ssh is not None and may_switch(wish, context.settings.apply.mode):
            context.link.ssh.prepare_switch()
        elif not seen.probed and (facts := await _probed(context)) is not None:
            # All that will be asked about is a system that did not change.
            seen = replace(seen, facts=facts, probed=True)
        found: Sight | GuestError = seen
    except GuestError as error:
        found, asked_s = error, context.clock.monotonic()
    except DomainError:
        return None  # the cycle will tell
    return Early(found, asked_s, mark, context.link.ssh)


async def _probed(context: Context) -> GuestFacts | None:
    """What was told at the last glance, and what the probes show; None when nobody waits in the guest to tell."""
    ssh = context.link.ssh
    if ssh is None:
        return None
    whole = await ssh.complete(_SIGHT_TIMEOUT_S)
    ssh.prepare(context.settings.store)
    return whole


async def sight(context: Context, site: Site, early: Early | None, emit: Emit) -> Sight:
    """What the guest runs. Raises GuestError when it does not say, AccessError when it does not let us in."""
    if early is not None and isinstance(early.found, GuestError) and early.is_young(context):
        raise early.found
    if early is None or isinstance(early.found, GuestError) or not await early.holds(context, site.domain):
        return await _ask(context, site.domain, emit)
    return early.found


async def _ask(context: Context, domain: Domain, emit: Emit) -> Sight:
    kept = context.link.ssh is not None
    request = guest_room.FactsRequest(context.settings.store)
    try:
        connection = await connect(context, domain, emit, _LOOK_TIMEOUT_S)
        glance = await connection.glance(_SIGHT_TIMEOUT_S)
        facts = glance or await connection.gather(request, _SIGHT_TIMEOUT_S)
    except AccessError:
        raise
    except GuestError:
        await context.link.drop_ssh()
        if not kept:
            raise
        # A connection may be half dead while the guest is well.
        connection = await connect(context, domain, emit, _LOOK_TIMEOUT_S)
        glance, facts = None, await connection.gather(request, _SIGHT_TIMEOUT_S)
    if facts.boot_id is None or facts.booted_system is None or facts.current_system is None:
        raise GuestError(f"guest {context.settings.name} does not say what it runs")
    cmdline = " ".join((facts.cmdline or "").split())
    booted = context.generations.booted(Path(facts.booted_system), cmdline)
    return Sight(facts, Path(facts.current_system), booted, probed=glance is None)


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look at the running guest brought.

    Attributes:
        trouble: Why it cannot be left as it is, None when it is sound.
        booted: Whether it is sound, and has booted the very generation that was looked for.
    """

    trouble: str | None
    checks: tuple[Check, ...] = ()
    booted: bool = False


async def look(context: Context, site: Site, current: Generation, emit: Emit, *, early: Early | None = None) -> Looked:
    """Check the running guest against the current generation, by its answer of just now where that says enough.

    Raises:
        AccessError: it does not let us in, and would not after a restart.
    """
    live = await site.domain.running()
    if live is None:
        return Looked("the domain has just stopped")
    verified = context.generations.is_verified(current.number)
    wanted = Look(
        Action.NONE,
        current,
        live,
        paths=() if verified else await new_paths(context, current),
        switched_on=context.generations.switched_on(current.number),
        settle_s=context.settings.apply.boot_timeout_s,
    )
    try:
        with stage(emit, context.clock, Stage.VERIFY):
            connection = await connect(context, site.domain, emit, _LOOK_TIMEOUT_S)
            known = await _known(context, site, wanted, early)
            # A guest that is restarted anyway is not reported on.
            seen = await observe(context, connection, wanted, lambda _: None, known)
    except AccessError:
        raise
    except GuestError as error:
        await context.link.drop_ssh()
        return Looked(error.message)
    failed = required_that_failed(seen.checks)
    if failed:
        return Looked(f"check {failed[0].id} failed: {failed[0].actual}", seen.checks)
    booted = seen.facts.booted_system == str(current.toplevel)
    if not booted and not verified:
        return Looked(f"the switch to generation {current.number} was never verified", seen.checks)
    return Looked(None, seen.checks, booted=booted)


async def _known(context: Context, site: Site, wanted: Look, early: Early | None) -> GuestFacts | None:
    """What it says, or said just now in this run of the domain, without the cost of a look; not if paths are wanted."""
    ssh = context.link.ssh
    if wanted.paths or ssh is None:
        return None
    if early is not None and not isinstance(early.found, GuestError) and await early.holds(context, site.domain):
        return early.found.facts if early.found.probed else await _probed(context)
    return None if await ssh.glance(_SIGHT_TIMEOUT_S) is None else await _probed(context)


@dataclass(frozen=True, slots=True)
class View:
    """All that was found out for a decision."""

    seen: Seen
    sight: Sight | None = None
    looked: Looked | None = None


async def view(context: Context, site: Site, built: System, wish: Wish, *, early: Early | None, emit: Emit) -> View:
    """Find out what a decision needs to know, and no more: a look into the guest costs time.

    Raises:
        AccessError: the guest does not let us in.
    """
    state = await site.domain.state()
    current, definition = site.current, (*site.changes, *site.since_start)
    seen = Seen(
        running=state == "running",
        halted=None if state in {"running", *_OFF} else state,
        definition=definition,
        current=None if current is None else nix.read_system(current.toplevel, current.cmdline),
        cut_short=current is not None and context.generations.is_cut_short(current.number),
    )
    same = current is not None and (current.toplevel, current.cmdline) == (built.toplevel, built.cmdline)
    may_stay = seen.running and same and not definition and not seen.cut_short and wish is Wish.AS_NEEDED
    looked: Looked | None = None
    if may_stay and current is not None:
        looked = await look(context, site, current, emit, early=early)
        if looked.trouble is None:
            return View(replace(seen, runs=built.toplevel), looked=looked)
        seen = replace(seen, trouble=looked.trouble)
    if not (seen.running and may_switch(wish, context.settings.apply.mode)):
        return View(seen, looked=looked)
    try:
        known = await sight(context, site, early, emit)
    except AccessError:
        raise
    except GuestError as error:
        await context.link.drop_ssh()
        return View(replace(seen, trouble=error.message), looked=looked)
    seen = replace(seen, booted=known.booted_system(), runs=known.runs, root=known.facts.is_root)
    return View(seen, known, looked)


def system_of(toplevel: Path, cmdline: str) -> System:
    """A built system as a decision sees it. Raises GenerationError when it has gone from the store already."""
    system = nix.read_system(toplevel, cmdline)
    if system is None:
        raise GenerationError(f"{toplevel} has just gone from the store", hint="build it again")
    return system
