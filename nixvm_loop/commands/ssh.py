"""`ssh`: OpenSSH's client under nixvm-loop's rules, in place of this process, so that its exit code is ours."""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import TYPE_CHECKING

from nixvm_loop.cycle.boot import connect
from nixvm_loop.cycle.context import no_address, not_running
from nixvm_loop.errors import UsageError
from nixvm_loop.guest import ssh_argv
from nixvm_loop.interrupt import interruptible

if TYPE_CHECKING:
    from nixvm_loop.commands.call import Call
    from nixvm_loop.events.emitter import Sink

_REACH_TIMEOUT_S = 15.0


def run(call: Call) -> int:
    """Become `ssh`; does not return unless that cannot be started."""
    if shutil.which("ssh") is None:
        raise UsageError("OpenSSH's client is not installed", hint="install openssh-client, or openssh in Nix")
    with call.sink() as sink:
        argv = asyncio.run(interruptible(_argv(call, sink)))
    os.execvp(argv[0], argv)  # noqa: S606  # an argv, no shell


async def _argv(call: Call, sink: Sink) -> tuple[str, ...]:
    context = call.context(sink)
    try:
        domain = await context.link.domain()
        if await domain.running() is None:
            raise not_running(call.settings)
        definition = await domain.definition()
        mark = await domain.boot_mark()
        host_keys = context.host_keys(mark)
        if mark is None or not host_keys.known or context.by_lease(definition):
            # Started by somebody else, nothing to hold this boot to yet, or not sure where it is: meet it once, under
            # the rules of a cycle, whose refusals are in our own words.
            await connect(context, domain, context.emitter, _REACH_TIMEOUT_S)
        access = context.link.access or next(iter(await context.accesses(domain, definition)), None)
        if access is None:
            raise no_address(call.settings)
        return ssh_argv(access, host_keys.file, call.arguments.remote)
    finally:
        await context.link.close()
