"""What is said when a guest that was reached does not do what it is asked."""

from __future__ import annotations

from typing import Final

from nixvm_loop.errors import ConnectionLostError, GuestError
from nixvm_loop.guest.converse import CommandEnd, CommandResult

_LAST_WORDS: Final = 40


def lost(name: str, why: str = "") -> ConnectionLostError:
    """The connection has ended."""
    reason = f": {why}" if why else ""
    return ConnectionLostError(
        f"the SSH connection to guest {name} was lost{reason}",
        hint="see whether the guest still runs: nixvm-loop status, nixvm-loop console",
    )


def refuses(name: str, why: str) -> GuestError:
    """The connection stands, and no command is run on it."""
    return GuestError(
        f"the sshd of guest {name} runs no command: {why}",
        hint="is the guest out of memory or of processes? nixvm-loop console shows what it says",
    )


def silent(name: str, end: CommandEnd, timeout_s: float, complaints: str = "") -> GuestError:
    """The shell that tells the facts did not come to its end; `complaints` are its standard error."""
    return GuestError(
        f"the shell of guest {name} {_ended(end, timeout_s)} while it told about itself",
        hint="see what the guest is busy with: nixvm-loop console, nixvm-loop ssh",
        details=tuple(complaints.splitlines()[-5:]),
    )


def deaf(name: str) -> GuestError:
    """The connection stands, and nobody could make another."""
    return GuestError(
        f"guest {name} takes no new SSH connections: nobody listens on the port any more",
        hint="its sshd has ended, or failed to start again: nixvm-loop console leads into the guest",
    )


def why_not(result: CommandResult, timeout_s: float) -> str:
    """The last that a command complained of that failed, or how it ended."""
    return " ".join(result.stderr.split()[-_LAST_WORDS:]) or _ended(result.end, timeout_s)


def _ended(end: CommandEnd, timeout_s: float) -> str:
    return f"did not answer within {timeout_s:g}s" if end is CommandEnd.TIMED_OUT else end.value
