"""What `adopt` and `release` have in common: a domain that may be given another definition, and how it is given one."""

from __future__ import annotations

import asyncio
import shlex
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from nixvm_loop import domainxml
from nixvm_loop.commands.agree import agree
from nixvm_loop.domainxml.normal import unified
from nixvm_loop.errors import DomainError
from nixvm_loop.events.generations import DefinitionChange
from nixvm_loop.interrupt import interruptible

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from nixvm_loop.commands.call import Call
    from nixvm_loop.cycle.context import Context
    from nixvm_loop.domain import Domain
    from nixvm_loop.domainxml import DomainXml
    from nixvm_loop.events.emitter import Sink


class WhileRunning(Enum):
    """What is done about a domain that runs: its definition counts from its next start on."""

    REFUSE = False
    DEFINE = True


class Plan(Protocol):
    """What is to be done; `after` is the definition that the domain is to get, None when it needs none."""

    @property
    def after(self) -> str | None:
        """See above."""
        ...


PlanT = TypeVar("PlanT", bound=Plan)


def redefine(
    call: Call,
    look: Callable[[Sink], Coroutine[Any, Any, PlanT | None]],
    do: Callable[[Sink, PlanT], Coroutine[Any, Any, None]],
    *,
    losing: Callable[[PlanT], str] = lambda _: "",
) -> int:
    """Show (`look`), ask, then do it; `losing` says in the question what else comes of it.

    Between two runs of the event loop, so that Ctrl-C ends the question at once.

    Raises:
        UsageError: the answer was no, or nobody can be asked.
    """
    name = call.settings.domain
    with call.sink() as sink:
        plan = asyncio.run(interruptible(look(sink)))
        if plan is None:
            return 0
        if plan.after is not None and not call.arguments.yes:
            agree(
                f"Define domain {name} like this{losing(plan)}?",
                alone=f"{call.arguments.command} would change the definition of domain {name}",
                refused="nothing was changed",
            )
        asyncio.run(interruptible(do(sink, plan)))
    return 0


async def check_redefinable(domain: Domain, running: WhileRunning) -> None:
    """Make sure that the domain can be given another definition.

    Raises:
        DomainError: it runs, is transient, or has a saved state; the hint says what to do.
    """
    name = shlex.quote(domain.name)
    if not await domain.is_persistent():
        raise DomainError(
            f"domain {domain.name} is transient: libvirt forgets its definition when it stops",
            hint=f"`(umask 077; virsh dumpxml {name} --inactive --security-info >{name}.xml)` and"
            f" `virsh define {name}.xml` keep it",
        )
    if await domain.has_saved_state():
        raise DomainError(
            f"domain {domain.name} has a saved state (virsh managedsave), which belongs to the definition as it is",
            hint=f"let it go on and shut it down (`virsh start {name}`, `virsh shutdown {name}`), or give up what it"
            f" was doing: `virsh managedsave-remove {name}`",
        )
    state = await domain.state()
    if running is WhileRunning.REFUSE and state not in {"shut off", "crashed"}:
        raise DomainError(
            f"domain {domain.name} is {state}",
            hint=f"`virsh shutdown {name}` first, or say --while-running: the change counts from its next start on",
        )


def check_own(context: Context, defined: DomainXml) -> None:
    """Make sure that the domain does not boot what another state directory keeps. Raises DomainError."""
    kernel, state_dir = Path(defined.kernel or "/"), context.settings.state_dir
    if kernel.name == context.generations.kernel_link.name and kernel.parent != state_dir:
        raise DomainError(
            f"domain {defined.name} boots {kernel}, but the state of guest {context.settings.name} is in {state_dir}",
            hint="it is another guest's, or this guest's name or state_dir was changed since: what is kept of the"
            f" domain is in {kernel.parent}",
        )


async def check_same(domain: Domain, before: str) -> None:
    """Make sure that the domain is still defined as it was when the user was asked. Raises DomainError."""
    if await domain.definition_text() != before:
        raise DomainError(
            f"the definition of domain {domain.name} was changed meanwhile, by somebody else; nothing was done",
            hint="try again, and look at what is shown",
        )


def show(context: Context, before: str, after: str) -> None:
    """Show what would change."""
    name = domainxml.read(before).name
    context.emitter(DefinitionChange(name, unified(before, after, name)))
