"""`delete`: the domain that `create` made, the guest's state, and with it the garbage-collector roots."""

from __future__ import annotations

import asyncio
import shutil
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

from nixvm_loop.cycle.run import hold
from nixvm_loop.errors import GenerationError, UsageError
from nixvm_loop.events.types import Notice
from nixvm_loop.interrupt import interruptible
from nixvm_loop.model.settings import StopPolicy
from nixvm_loop.model.values import Severity

if TYPE_CHECKING:
    from pathlib import Path

    from nixvm_loop.commands.call import Call
    from nixvm_loop.cycle.context import Context
    from nixvm_loop.domain import Domain
    from nixvm_loop.events.emitter import Sink

_OURS: Final = (
    "current", "kernel-current", "initrd-current", "generations", "cycles", "ssh",
    "journal.jsonl", "seen.json", "guest.json", "lock",
)  # fmt: skip


def run(call: Call) -> int:
    """Ask, then remove; raises UsageError when nobody can be asked."""
    with call.sink() as sink:
        if not call.arguments.yes:
            # Between two runs of the event loop, so that Ctrl-C ends the question at once.
            _ask(asyncio.run(interruptible(_what(call, sink))))
        asyncio.run(interruptible(_delete(call, sink)))
    return 0


async def _what(call: Call, sink: Sink) -> str:
    context = call.context(sink)
    try:
        domain = await _own_domain(context)
        return f"{call.settings.state_dir}" + (f" and domain {call.settings.domain}" if domain else "")
    finally:
        await context.link.close()


def _ask(what: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError(f"delete would remove {what}, and there is nobody to ask", hint="say --yes")
    sys.stderr.write(f"Remove {what}? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise UsageError("nothing was removed")


async def _delete(call: Call, sink: Sink) -> None:
    context = call.context(sink)
    try:
        domain = await _own_domain(context)
        if domain is None:
            await _tell_what_stays(context)
        await _remove(context, domain)
    finally:
        await context.link.close()


async def _own_domain(context: Context) -> Domain | None:
    """The domain, if `create` made it for this guest."""
    settings = context.settings
    domain = await (await context.link.hypervisor()).find(settings.domain)
    owner = None if domain is None else (await domain.definition()).owner
    return domain if owner is not None and owner.state_dir == str(settings.state_dir) else None


async def _tell_what_stays(context: Context) -> None:
    settings = context.settings
    if await (await context.link.hypervisor()).find(settings.domain) is None:
        return
    hint = "its <kernel> and <initrd> are gone with the state: set them before it is started again"
    text = f"domain {settings.domain} was not made by nixvm-loop for this guest and stays"
    context.emitter(Notice(Severity.INFO, text, hint))


async def _remove(context: Context, domain: Domain | None) -> None:
    settings = context.settings
    known = settings.state_dir.is_dir()
    async with hold(context) if known else nullcontext():
        if domain is not None:
            await domain.stop(StopPolicy.FORCE, 0)
            await domain.undefine()
            context.emitter(Notice(Severity.INFO, f"domain {settings.domain} is removed", None))
        if known:
            left = _remove_state(settings.state_dir)
            text = f"stays: it holds {', '.join(left)}" if left else "is removed"
            context.emitter(Notice(Severity.INFO, f"{settings.state_dir} {text}", None))


def _remove_state(state_dir: Path) -> list[str]:
    """Remove what is ours; the names of what is not."""
    try:
        for name in _OURS:
            path = state_dir / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        left = sorted(entry.name for entry in state_dir.iterdir())
        if not left:
            state_dir.rmdir()
    except OSError as error:
        raise GenerationError(f"{state_dir} cannot be removed: {error}") from error
    return left
