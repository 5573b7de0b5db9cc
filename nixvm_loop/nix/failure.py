"""Turns a nix run that failed into the one error that the user sees: what, where, what to do."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nixvm_loop.diagnostics.explain import Explanation, explain
from nixvm_loop.errors import BuildError
from nixvm_loop.model.nixerror import NixError
from nixvm_loop.nix.advice import advice

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nixvm_loop.diagnostics.tree import UserTree
    from nixvm_loop.nix.follow import Follower

_LONGEST_LINE: Final = 500
_MOST_LINES: Final = 40

_PLAIN_ERROR: Final = "error: "
_ATTRIBUTE_MISSING: Final = re.compile(r"does not provide attribute")


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed run, explained.

    Attributes:
        explanations: Each error with its place, for problem lines.
        error: What ends the cycle.
    """

    explanations: tuple[Explanation, ...]
    error: BuildError


def attribute_is_missing(follower: Follower) -> bool:
    """Whether nix failed because the flake has no such attribute."""
    return any(_ATTRIBUTE_MISSING.search(error.text) for error in follower.errors)


def missing_attribute(attribute: str, flake: str, names: Sequence[str], close: Sequence[str]) -> BuildError:
    """The error for a configuration that the flake does not have, given those that it has."""
    message = f"{flake} has no {attribute}.config.system.build.toplevel"
    if not names:
        return BuildError(message, hint="`attribute` must name a NixOS configuration of the flake; see: nix flake show")
    known = ", ".join(names)
    hint = f"did you mean {close[0]}? (there are: {known})" if close else f"set `attribute` to one of: {known}"
    return BuildError(message, hint=hint)


def failure(follower: Follower, tree: UserTree, exit_code: int, log: str = "the cycle's nix.log") -> Failure:
    """Why the run failed. If nothing was recognised, the last lines are shown as they are, and where the log is."""
    errors = follower.errors or _plain_errors(follower.tail)
    explanations = explain(errors, tree, follower.logs)
    if exit_code < 0:
        return Failure(explanations, _killed(exit_code, follower))
    if not explanations:
        message = f"nix build failed with exit code {exit_code} and gave no reason"
        return Failure((), BuildError(message, hint=f"see {log}", details=_cut(follower.tail)))
    first = explanations[0]
    spot = first.diagnostic
    where = f"{spot.file}:{spot.line}:{spot.column}: " if first.placed else ""
    text = "\n".join(error.text for error in errors)
    known = advice("\n".join([text, *first.log]))
    hint = known or first.hint if first.log else first.hint or known
    if not follower.errors:
        hint = f"{known}; the log is {log}" if known else f"see {log}"
        text = "\n".join(line.removeprefix(_PLAIN_ERROR) for line in follower.tail)
    return Failure(explanations, BuildError(where + spot.message, hint=hint, details=_details(explanations, text)))


def _plain_errors(lines: Iterable[str]) -> list[NixError]:
    """What Nix said past its own protocol, as it does when it has no stack left, or before it has begun."""
    found = (line for line in lines if line.startswith(_PLAIN_ERROR))
    return [NixError(text=line.removeprefix(_PLAIN_ERROR).strip(), full=line) for line in found]


def _details(explanations: Sequence[Explanation], text: str) -> tuple[str, ...]:
    first = explanations[0]
    if first.log:
        return _cut(first.log)
    lines = text.splitlines()
    return () if lines == [first.diagnostic.message] else _cut(lines)


def _killed(exit_code: int, follower: Follower) -> BuildError:
    name = signal.Signals(-exit_code).name if -exit_code in set(signal.Signals) else str(-exit_code)
    hint = "somebody stopped it"
    if -exit_code == signal.SIGKILL:
        hint = "most likely the machine ran out of memory: see dmesg"
    return BuildError(f"nix was killed by {name}", hint=hint, details=_cut(follower.tail))


def _cut(lines: Iterable[str]) -> tuple[str, ...]:
    return tuple([line[:_LONGEST_LINE] for line in lines][-_MOST_LINES:])
