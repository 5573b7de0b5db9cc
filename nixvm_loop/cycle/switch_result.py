"""What came of a live switch: its exit code's meaning, and what it named as failed. Pure."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from nixvm_loop.errors import SwitchError
from nixvm_loop.model.values import Check, Outcome
from nixvm_loop.signatures import Source, find

if TYPE_CHECKING:
    from nixvm_loop.guest import Switch

# switch-to-configuration's own, nixpkgs pkgs/by-name/sw/switch-to-configuration-ng. What it dies of gives other codes.
_DONE: Final = 0
_UNITS_FAILED: Final = 4
_ACTIVATION_FAILED: Final = 2
_TAKES_A_BOOT: Final = 100
_ACTIVATING: Final = "activating the configuration"
_FAILED_UNITS: Final = re.compile(r"the following (?:user )?units failed: (?P<names>.+)")
_FAILED_OTHERWISE: Final = re.compile(r"^(?:warning: |error: )?(?P<what>[Ff]ailed to .+|.+ (?:failed|timed out).*)$")
UNITS: Final = "failed-units"
_SHOWN: Final = 3
_LOG_HINT: Final = "the cycle's switch.log has all that it said"
LAST_LINES: Final = 12


def judge(switch: Switch) -> None:
    """Raises SwitchError unless the switch was done."""
    said = tuple((switch.lines or switch.complaints)[-LAST_LINES:])
    if switch.hidden:
        more = f" and {len(switch.hidden) - _SHOWN} more" if len(switch.hidden) > _SHOWN else ""
        kept = "its caches may not be dropped" if switch.caches_kept else "even with its caches dropped"
        raise SwitchError(
            f"the guest does not see {', '.join(switch.hidden[:_SHOWN])}{more} in its store: {kept}",
            hint="a restart makes the guest's view of the store new",
        )
    if switch.exit_status in {_DONE, _UNITS_FAILED}:
        return
    if switch.exit_status is None:
        raise SwitchError(
            "the switch ended without a result", hint="was it killed, or could it not be started?", details=said
        )
    message, hint = f"switch-to-configuration exited {switch.exit_status}: {_meaning(switch)}", _LOG_HINT
    full = next((known for line in switch.lines if (known := find(Source.CONSOLE_CLUE, line)) is not None), None)
    if full is not None and full.id == "layer-full":
        message, hint = f"{message}; {full.cause}", f"{full.fix}; {_LOG_HINT}"
    raise SwitchError(message, hint=hint, details=said)


def _meaning(switch: Switch) -> str:
    begun = any(_ACTIVATING in line for line in switch.lines)
    if switch.locked:
        return "another switch is under way"
    if switch.exit_status == _TAKES_A_BOOT:
        return "the system cannot be switched to live: it takes a restart"
    if switch.exit_status == _ACTIVATION_FAILED and begun:
        return "the activation failed"
    return "it failed, and has changed the guest in part" if begun else "it did not begin, and has changed nothing"


def failures(switch: Switch) -> tuple[str, ...]:
    """What a switch that exited 4 named as failed; never nothing."""
    if switch.exit_status != _UNITS_FAILED:
        return ()
    found = (match for line in switch.lines if (match := _FAILED_UNITS.search(line)) is not None)
    names = [name.strip() for match in found for name in match["names"].split(",") if name.strip()]
    if not names:
        lines = (match["what"] for line in switch.lines if (match := _FAILED_OTHERWISE.match(line)) is not None)
        names = list(lines) or ["something that switch-to-configuration does not name"]
    return tuple(names)


def with_failed_units(checks: tuple[Check, ...], switch: Switch) -> tuple[Check, ...]:
    """The checks, with what failed in the switch: of some of that nothing in the guest keeps a record."""
    names = failures(switch)
    known = next((check for check in checks if check.id == UNITS), None)
    if not names or known is None or known.outcome is Outcome.FAILED:
        return checks
    shown = f"failed in the switch: {', '.join(names)}"
    found = replace(known, outcome=Outcome.FAILED, actual=shown, hint="the cycle's switch.log says why")
    return tuple(found if check is known else check for check in checks)
