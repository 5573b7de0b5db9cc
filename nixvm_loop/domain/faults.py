"""What libvirt refuses, told with its cause and its cure."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, Final, TypeVar

from nixvm_loop import signatures
from nixvm_loop.domain.beside import VIRTIOFSD, log_end
from nixvm_loop.domain.binding import CALL_TIMEOUT_S, call, library
from nixvm_loop.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Result = TypeVar("Result")

_UNHEARD: Final = frozenset({"libvirt-gone", "libvirt-not-running"})

_PREFIXES: Final = re.compile(
    r"^(?:(?:internal error|operation failed|unsupported configuration|XML error|Requested operation is not valid): )*"
    r"(?:(?:qemu unexpectedly closed the monitor|process exited while connecting to monitor): )?"
    r"(?:\d{4}-\d\d-\d\dT\S+Z )?(?:qemu[\w-]*: )?"
)


async def ask(
    doing: str,
    function: Callable[..., Result],
    *arguments: object,
    domain: str | None = None,
    timeout_s: float = CALL_TIMEOUT_S,
) -> Result:
    """Make a call of libvirt's; `doing` is what it is for, as in "starting domain demo".

    Raises:
        DomainError: libvirt refused, or did not answer in time.
    """
    try:
        return await call(doing, function, *arguments, timeout_s=timeout_s)
    except library().libvirtError as error:
        raise explain(error, f"{doing} failed", domain=domain) from error


def is_refusal(error: DomainError) -> bool:
    """Whether libvirt itself said no. Where it did not answer, or has gone, what was asked may be done all the same."""
    cause = error.__cause__
    if not isinstance(cause, library().libvirtError):
        return False
    found = signatures.find(signatures.Source.LIBVIRT, str(cause.get_error_message() or cause))
    return found is None or found.id not in _UNHEARD


def explain(error: Any, doing: str, *, domain: str | None = None) -> DomainError:
    """The error for a libvirtError; `doing` is what failed, as in "starting domain demo failed"."""
    text = str(error.get_error_message() or error).strip()
    found = signatures.find(signatures.Source.LIBVIRT, text)
    details = tuple(text.splitlines())
    if found is None:
        return DomainError(f"{doing}: {_first_line(text)}", details=details[1:])
    if found.id == "virtiofsd-failed" and domain is not None:
        log = log_end(domain, VIRTIOFSD)
        details += log
        found = signatures.find_in_text(signatures.Source.VIRTIOFSD, "\n".join(log)) or found
    return DomainError(f"{doing}: {found.cause}", hint=found.fix.replace("DOMAIN", domain or "DOMAIN"), details=details)


def _first_line(text: str) -> str:
    return _PREFIXES.sub("", text.splitlines()[0] if text else "no reason given")


def not_found(name: str, uri: str, names: Sequence[str]) -> DomainError:
    """The error for a domain that libvirt does not have; `names` are those that it has."""
    hint = "`nixvm-loop create` defines it, if the guest has a [machine] table in the config"
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        hint = f'did you mean domain = "{near[0]}"? Otherwise {hint}'
    elif names:
        hint += f"; domains there: {', '.join(sorted(names)[:10])}"
    return DomainError(f"there is no domain {name} at {uri}", hint=hint)
