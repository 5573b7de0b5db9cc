"""What can go wrong, as one tree. Each class fixes the exit code; the text says what, where and what to do.

NixvmLoopError            1   a bug in nixvm-loop, when nothing below fits
├── UsageError            2   arguments, or a state directory that belongs to something else
│   └── ConfigError       2   the configuration file, all problems at once
├── BuildError            3   Nix did not build the system; missing attributes included
├── GenerationError       4   a generation could not be written or flipped
├── DomainError           5   libvirt, or the domain
├── GuestError            6   the guest was not reached or did not boot
│   ├── ConnectionLostError 6 the connection to it has ended
│   ├── BootError         6   it is known that this boot failed
│   │   ├── OperatorStopError 6   by somebody's hand
│   │   └── HostFaultError    6   QEMU or virtiofsd died
│   ├── AccessError       6   it answers, and no restart would let us in
│   └── HostKeyError      6   something answers that is not the guest
│       └── PinnedKeyError 6  it does not show the key that the config pins; an AccessError too
├── VerificationError     7   the guest runs, but not what it should
│   └── SwitchError       7   a live switch failed
├── OutputError           8   the work is done, but standard output could not be written
└── InterruptedByUser   130   Ctrl-C or SIGTERM
"""

from __future__ import annotations

from typing import ClassVar


class NixvmLoopError(Exception):
    """A failure that is told to the user.

    Attributes:
        message: What happened and where, one sentence without a full stop.
        hint: What to do about it, or None.
        details: Further lines (a log's end, every problem of a config), shown below the message.
        exit_code: What the process exits with when this ends it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None, details: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.hint, self.details))


def _rebuild(cls: type[NixvmLoopError], message: str, hint: str | None, details: tuple[str, ...]) -> NixvmLoopError:
    return cls(message, hint=hint, details=details)


class UsageError(NixvmLoopError):
    """The call cannot be carried out as it stands."""

    exit_code = 2


class ConfigError(UsageError):
    """The configuration file is missing or has problems; `details` lists all of them."""


class BuildError(NixvmLoopError):
    """Nix could not evaluate or build the system."""

    exit_code = 3


class GenerationError(NixvmLoopError):
    """A generation could not be written, read or made current."""

    exit_code = 4


class DomainError(NixvmLoopError):
    """Libvirt refused, or the domain is not what it has to be."""

    exit_code = 5


class GuestError(NixvmLoopError):
    """The guest was not reached."""

    exit_code = 6


class ConnectionLostError(GuestError):
    """The connection to the guest has ended, whatever the reason."""


class BootError(GuestError):
    """The guest is known not to have come up; there is nothing to wait for."""


class OperatorStopError(BootError):
    """Somebody stopped the domain on purpose while it booted; the system is not to blame."""


class HostFaultError(BootError):
    """Something on the host died under the guest; the system is not to blame."""


class AccessError(GuestError):
    """The guest answers and does not let us in as the config says, which no restart would mend."""


class HostKeyError(GuestError):
    """What answered did not show the guest's host key."""


class PinnedKeyError(HostKeyError, AccessError):
    """What answered does not show the key that the config pins."""


class VerificationError(NixvmLoopError):
    """A check failed in the running guest."""

    exit_code = 7


class SwitchError(VerificationError):
    """A live switch did not come to its end as it should."""


class OutputError(NixvmLoopError):
    """Standard output could not be written, to a full disk, say. What else went wrong comes first in the exit code."""

    exit_code = 8


class InterruptedByUser(NixvmLoopError):  # noqa: N818  # it names who did it, not a fault
    """The user stopped the work."""

    exit_code = 130
