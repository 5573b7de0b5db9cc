"""What is remembered of systems that did not come up, so that they are not tried again for nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nixvm_loop.errors import GenerationError, GuestError, VerificationError

if TYPE_CHECKING:
    from nixvm_loop.errors import NixvmLoopError
    from nixvm_loop.generation.store import Generations
    from nixvm_loop.model.values import Artifacts

_ERRORS: Final[dict[int, type[NixvmLoopError]]] = {
    GuestError.exit_code: GuestError,
    VerificationError.exit_code: VerificationError,
}


@dataclass(frozen=True, slots=True)
class FailedTrial:
    """A generation that did not come up, or did not pass, and why."""

    generation: int
    error: type[NixvmLoopError]
    message: str

    def again(self) -> NixvmLoopError:
        """The error for a wish to try just that again."""
        return self.error(
            f"generation {self.generation} of this very system failed before ({self.message}) and is not tried again",
            hint="change something, or try it again with nixvm-loop rebuild --force",
        )


def failed_trial(
    generations: Generations, artifacts: Artifacts, cmdline: str, circumstances: str
) -> FailedTrial | None:
    """The failure of just this system in just these circumstances, None if it has ever passed in them."""
    wanted = {"toplevel": str(artifacts.toplevel), "cmdline": cmdline}
    for number in sorted(generations.numbers(), reverse=True):
        try:
            about = generations.about(number)
        except GenerationError:  # damaged: it tells nothing about any system
            continue
        if wanted.items() <= about.items():
            return _failure(number, about, circumstances)
    return None


def _failure(number: int, about: dict[str, Any], circumstances: str) -> FailedTrial | None:
    failure = about.get("failure")
    if not isinstance(failure, dict) or failure.get("under") != circumstances:
        return None
    if about.get("verified") and about.get("verified_under", circumstances) == circumstances:
        return None  # what has passed may pass again
    error = _ERRORS.get(failure.get("exit_code", 0))
    return None if error is None else FailedTrial(number, error, str(failure.get("message")))
