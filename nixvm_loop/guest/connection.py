"""A connection to the guest's sshd: commands in, results out; it never hangs and never floods us."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from nixvm_loop.errors import GuestError
from nixvm_loop.guest.converse import CommandEnd, CommandResult, FloodError, Output, converse
from nixvm_loop.guest.facts import UNITS_COMMAND, facts_from, is_whole, units_from
from nixvm_loop.guest.faults import deaf, lost, refuses, silent, why_not
from nixvm_loop.guest.hostkeys import Judgement, wrong_host_key
from nixvm_loop.guest.onlooker import Onlooker
from nixvm_loop.guest.script import Reader
from nixvm_loop.guest.sessions import Sessions
from nixvm_loop.spans import SpanKind, span

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    import asyncssh

    from nixvm_loop.guest.facts import FactsRequest
    from nixvm_loop.guest.hostkeys import HostKeys
    from nixvm_loop.guest.script import Script
    from nixvm_loop.guest.switch import Switch
    from nixvm_loop.model.facts import GuestFacts
    from nixvm_loop.model.settings import StoreSettings

_CLOSE_WAIT_S: Final = 1.0
# A channel that ends because its connection does is told so a moment before the connection is.
_LOST_WAIT_S: Final = 0.1
_DEAF_PAUSES_S: Final = (0.5, 1.0, 0.0)
GATHER_TIMEOUT_S: Final = 30.0
# OpenSSH refuses more than ten (MaxSessions), and one shell may wait for a switch, one for a glance.
_MOST_SESSIONS: Final = 8
_REGISTER_TIMEOUT_S: Final = 60.0
_REGISTER: Final = "exec /bin/sh -c 'PATH=$PATH:/run/current-system/sw/bin; exec nix-store --load-db'"
_FORGET: Final = "exec /bin/sh -c 'echo 2 >/proc/sys/vm/drop_caches'"


class Connection:
    """One SSH connection to the guest `name`, which showed `host_key` (`TYPE KEY`)."""

    def __init__(self, ssh: asyncssh.SSHClientConnection, *, name: str, host_key: str, host_keys: HostKeys) -> None:
        self._ssh = ssh
        self._name = name
        self._host_key = host_key
        self._host_keys = host_keys
        self._reader = Reader.LOGIN_SHELL
        self._reads_scripts = False
        self._sessions = Sessions(ssh)
        self._onlooker: Onlooker | None = None
        self._room = asyncio.Semaphore(_MOST_SESSIONS)

    @property
    def closed(self) -> bool:
        """Whether the connection is over; a guest that froze is noticed after some seconds."""
        return self._ssh.is_closed()

    async def wait_closed(self) -> None:
        """Return when the connection is over, whoever ended it."""
        await self._ssh.wait_closed()

    def prepare(self, store: StoreSettings) -> None:
        """Have a shell wait in the guest for the next `glance`: it is there at once then."""
        if self._onlooker is None and not self.closed:
            self._onlooker = Onlooker(self._sessions, store)

    def prepare_switch(self) -> None:
        """Have a shell wait in the guest for `advance`."""
        self._sessions.prepare()

    def release(self) -> None:
        """Let go of what waits for a `glance`."""
        onlooker, self._onlooker = self._onlooker, None
        if onlooker is not None:
            onlooker.close()

    async def glance(self, timeout_s: float = GATHER_TIMEOUT_S) -> GuestFacts | None:
        """What the guest is and has mounted, less what takes a probe; None if nobody waits there to tell.

        Raises:
            GuestError, HostKeyError: like `gather`.
        """
        return await self._told(Onlooker.facts, timeout_s)

    async def complete(self, timeout_s: float = GATHER_TIMEOUT_S) -> GuestFacts | None:
        """The last glance, and what the probes show; None and errors as there."""
        try:
            return await self._told(Onlooker.probes, timeout_s)
        finally:
            self.release()

    async def _told(
        self, ask: Callable[[Onlooker], Coroutine[Any, Any, GuestFacts | None]], timeout_s: float
    ) -> GuestFacts | None:
        import asyncssh  # noqa: PLC0415  # slow to import

        if self._onlooker is None:
            return None
        facts = None
        try:
            async with asyncio.timeout(timeout_s):
                with span(SpanKind.COMMAND, self._name):
                    facts = await ask(self._onlooker)
        except TimeoutError as error:
            raise silent(self._name, CommandEnd.TIMED_OUT, timeout_s) from error
        except (OSError, asyncssh.Error, FloodError) as error:
            if self.closed:
                raise lost(self._name, str(error)) from error
        finally:
            # An answer that is still to come is not to be taken for that to the next question.
            if facts is None:
                self.release()
        self._check_host_key()
        return None if facts is not None and facts.listens is False else facts

    async def gather(self, request: FactsRequest, timeout_s: float = GATHER_TIMEOUT_S) -> GuestFacts:
        """Look into the guest once, in one round trip.

        Raises:
            GuestError: the connection was lost, or is the last that the guest takes; its shell did not answer whole or
                in time.
            HostKeyError: by now the guest has announced another host key than the one that was shown.
        """
        for pause_s in _DEAF_PAUSES_S:
            facts = await self._gather(request, timeout_s)
            if facts.listens is not False:
                return facts
            # A switch may just be restarting sshd.
            await asyncio.sleep(pause_s)
        raise deaf(self._name)

    async def _gather(self, request: FactsRequest, timeout_s: float) -> GuestFacts:
        answer = await self._ask(request, timeout_s)
        if not is_whole(answer.stdout, request) and self._reader is Reader.LOGIN_SHELL:
            self._reader = Reader.SH
            answer = await self._ask(request, timeout_s)
        facts = facts_from(answer.stdout, request, complaints=answer.stderr)
        self._reads_scripts = True
        self._check_host_key()
        return facts

    def _check_host_key(self) -> None:
        # At first sight any key does; the guest's own word may have come since.
        if self._host_keys.judge(self._host_key) is Judgement.REFUSE:
            raise wrong_host_key(self._name, self._host_keys.policy)

    async def _ask(self, request: FactsRequest, timeout_s: float) -> CommandResult:
        result = await self.run(request.script.command(self._reader), timeout_s, stdin=request.script.stdin)
        if result.end is CommandEnd.EXITED:
            return result
        raise silent(self._name, result.end, timeout_s, result.stderr)

    async def settled(self, facts: GuestFacts, timeout_s: float) -> GuestFacts:
        """The facts once systemd is through with the start-up; as they are where there is nothing to wait for.

        After `timeout_s` they still say `starting`. Raises GuestError when the connection is lost.
        """
        if not facts.starting:
            return facts
        result = await self.run(UNITS_COMMAND, timeout_s)
        state, failed = units_from(result.stdout)
        if result.end is not CommandEnd.EXITED or state is None:
            return facts
        return replace(facts, system_state=state, failed_units=failed)

    async def refresh(self, timeout_s: float) -> None:
        """Have the guest forget what it knew of its files, so that its overlay looks at the share anew.

        Raises:
            GuestError: it may not, or the connection was lost.
        """
        result = await self.run(_FORGET, timeout_s)
        if not result.ok:
            raise GuestError(
                f"the caches of guest {self._name} cannot be dropped: {why_not(result, timeout_s)}",
                hint="it takes root and a writable /proc/sys; nixvm-loop rebuild --force restarts the guest instead",
            )

    async def register(self, registration: bytes, timeout_s: float = _REGISTER_TIMEOUT_S) -> None:
        """Tell the guest's Nix database of store paths, by what `nix-store --dump-db` said of them on the host.

        Raises:
            GuestError: it was not taken, or the connection was lost.
        """
        result = await self.run(_REGISTER, timeout_s, stdin=registration)
        if not result.ok:
            raise GuestError(
                f"the Nix database of guest {self._name} was not told what it runs: {why_not(result, timeout_s)}",
                hint="nix in the guest does not know the system's paths: collect no garbage there",
            )

    async def advance(self, switch: Switch, timeout_s: float, then: FactsRequest) -> GuestFacts | None:
        """Begin a live switch, or go on following it, until it is over or `timeout_s` has passed.

        Returns the answer to `then`, which is asked in the same breath, if the switch began and was done here.

        Raises:
            GuestError: the connection was lost; a switch that was begun goes on, and can be followed on another one.
        """
        begins, switch.then = not switch.started, then.script
        # A shell that is met for the first time may be any.
        reader = self._reader if self._reads_scripts else Reader.SH
        with ExitStack() as viewing:
            if begins:
                viewing.enter_context(span(SpanKind.STORE_VIEW, self._name))
                switch.looked = viewing.close
            result = await self._run_script(switch.script(), reader, timeout_s, switch.take)
        switch.complaints += result.stderr.splitlines()
        if result.end is CommandEnd.EXITED and not switch.over:
            switch.died = True  # the shell broke off
        if not (begins and is_whole(result.stdout, then)):
            return None
        facts = facts_from(result.stdout, then)
        return None if facts.listens is False else facts

    async def stop(self, switch: Switch, timeout_s: float) -> None:
        """End a switch that was begun. Raises GuestError when the connection is lost."""
        await self.run(switch.stop_command(), timeout_s)

    async def run(
        self, command: str, timeout_s: float, *, stdin: bytes = b"", on_line: Callable[[str], object] | None = None
    ) -> CommandResult:
        """Run a command line by the user's shell in the guest; `on_line` gets its output as it comes.

        Past `timeout_s`, or 4 MiB of output, the command is killed as far as the guest's sshd allows.

        Raises:
            GuestError: the connection was lost.
        """
        output = Output(on_line)
        return await self._bounded(self._run_command(command, stdin, output), output, timeout_s)

    async def _run_script(
        self, script: Script, reader: Reader, timeout_s: float, on_line: Callable[[str], object] | None = None
    ) -> CommandResult:
        """Run it in the shell that waits, or else in a new one."""
        output = Output(on_line)

        async def work() -> CommandResult:
            shell = await self._sessions.take()
            if shell is not None:
                result = await self._to_its_end(shell, script.whole.encode(), output)
                if output.stdout:
                    return result
                # Somebody had ended it, or it found no `cat`: it has read nothing.
            return await self._run_command(script.command(reader), script.stdin, output)

        return await self._bounded(work(), output, timeout_s)

    async def _bounded(
        self, work: Coroutine[Any, Any, CommandResult], output: Output, timeout_s: float
    ) -> CommandResult:
        import asyncssh  # noqa: PLC0415  # slow to import

        deadline = asyncio.timeout(timeout_s)
        try:
            async with self._room, deadline:
                with span(SpanKind.COMMAND, self._name):
                    return await work
        except TimeoutError as error:
            if deadline.expired() and not self.closed:
                return output.result(CommandEnd.TIMED_OUT)
            raise lost(self._name) from error
        except asyncssh.ChannelOpenError as error:
            raise (lost if self.closed else refuses)(self._name, str(error)) from error
        except (OSError, asyncssh.Error) as error:
            raise lost(self._name, str(error)) from error

    async def _run_command(self, command: str, stdin: bytes, output: Output) -> CommandResult:
        return await self._to_its_end(await self._sessions.open(command), stdin, output)

    async def _to_its_end(
        self, process: asyncssh.SSHClientProcess[bytes], stdin: bytes, output: Output
    ) -> CommandResult:
        ended = False
        try:
            await converse(process, stdin, output)
            await process.wait_closed()
            ended = True
        except FloodError:
            return output.result(CommandEnd.FLOODED)
        finally:
            if not ended:
                with suppress(OSError):
                    process.kill()
            process.close()
        if process.exit_status is not None and process.exit_signal is None:
            return output.result(CommandEnd.EXITED, process.exit_status)
        if process.exit_signal is None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ssh.wait_closed(), _LOST_WAIT_S)
            if self.closed:
                raise lost(self._name)
        return output.result(CommandEnd.KILLED)

    async def close(self) -> None:
        """End the connection; a guest that does not answer any more is not waited for."""
        self._ssh.close()
        self._sessions.cancel()
        self.release()
        try:
            async with asyncio.timeout(_CLOSE_WAIT_S):
                await self._ssh.wait_closed()
        except TimeoutError:
            self._ssh.abort()
