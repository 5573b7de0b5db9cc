"""Tells by its console that a guest has started anew: its kernel's clock runs backwards, or a greeting comes twice."""

from __future__ import annotations

import re
from typing import Final

# What a console says to its terminal: colours, modes, titles, the cursor's ways.
_CONTROL: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_a-z=>])|\x07")
_KERNEL_LINE: Final = re.compile(r"\[ *(?P<seconds>\d+\.\d{6})\](?:\[ *[TC]\d+\])? (?P<first>Linux version \d)?")
# With `quiet`, it is all that is left of a restart.
_LAST_WORDS: Final = re.compile(r"\[[^\]]*\] reboot: (?P<what>Restarting system|machine restart)")
# Said once in a boot: by the firmware, by NixOS's scripted initrd.
_GREETING: Final = re.compile(r"SeaBIOS \(version |<<< .* Stage 1 >>>")
_FIRMWARE: Final = re.compile(r"SeaBIOS \(version |BdsDxe: (?:loading|starting) Boot|UEFI firmware \(version ")
# Lines of several processors may change places.
_BACKWARDS_S: Final = 1.0


def plain(line: str) -> str:
    """A console's line without what it says to its terminal."""
    return _CONTROL.sub("", line)


class KernelClock:
    """Hears the lines of one boot.

    Lines of an earlier time that somebody copies to the console (`dmesg >/dev/console`) look like a start.
    """

    def __init__(self) -> None:
        self._latest: float | None = None
        self._restarting = False
        self._greetings: set[str] = set()

    def started_anew(self, line: str) -> bool:
        """Whether this line is one of another start than the lines before it."""
        text = plain(line).strip()
        if self._restarting and text and _LAST_WORDS.match(text) is None:
            return True
        last = _LAST_WORDS.match(text)
        if last is not None and last["what"] == "Restarting system":
            again, self._restarting = self._restarting, True
            return again
        kernel = _KERNEL_LINE.match(text)
        if kernel is None:
            return self._greets_again(text)
        seconds, before = float(kernel["seconds"]), self._latest
        self._latest = max(seconds, before or 0.0)
        return before is not None and (kernel["first"] is not None or seconds < before - _BACKWARDS_S)

    def _greets_again(self, text: str) -> bool:
        if self._latest is not None and _FIRMWARE.match(text):
            return True
        greeting = _GREETING.match(text)
        if greeting is None:
            return False
        again = greeting[0] in self._greetings
        self._greetings.add(greeting[0])
        return again
