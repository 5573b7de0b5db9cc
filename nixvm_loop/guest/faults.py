"""What is said when a guest that was reached does not do what it is asked."""

from __future__ import annotations

from nixvm_loop.errors import GuestError
from nixvm_loop.guest.converse import CommandEnd


def lost(name: str, why: str = "") -> GuestError:
    """The connection has ended."""
    reason = f": {why}" if why else ""
    return GuestError(
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
        f"the shell of guest {name} {ended(end, timeout_s)} while it told about itself",
        hint="see what the guest is busy with: nixvm-loop console, nixvm-loop ssh",
        details=tuple(complaints.splitlines()[-5:]),
    )


def ended(end: CommandEnd, timeout_s: float) -> str:
    """How a command that was to end within `timeout_s` did end."""
    return f"did not answer within {timeout_s:g}s" if end is CommandEnd.TIMED_OUT else end.value
