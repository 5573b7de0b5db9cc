"""Makes text that others wrote (logs, consoles, configuration, errors) harmless on a terminal. Pure."""

from __future__ import annotations

import re

_ELLIPSIS = "…"
_REPLACEMENT = "\ufffd"
_TAB_CELLS = 8
# What escape sequences may take away before the limit counts; beyond it a line is cut unread.
_SLACK_CHARACTERS = 4096

# The bodies of string sequences exclude every introducer, so that one pass is enough whatever the input is.
_ESCAPES = re.compile(
    r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])"  # OSC, DCS, SOS, PM, APC
    r"[^\x07\x18\x1a\x1b\x80-\x9f\n\r]*(?:\x07|\x1b\\|\x9c)"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # CSI
    r"|\x1b[ -/]*[0-~]?"  # the others; of an unterminated string only its introducer goes, its text is shown
)
_BREAKS = re.compile("[\n\r\v\f\x85\u2028\u2029]+")
_HARMFUL = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # changes of writing direction
    "\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff"  # invisible
    "\ud800-\udfff]"  # halves of characters
)


def clean(text: str, limit: int) -> str:
    """One harmless line of at most `limit` characters.

    Escape sequences are taken out, line breaks become a space and tabs spaces; other control characters, changes of
    writing direction, invisible characters and lone surrogates become U+FFFD. What is cut off is marked by an ellipsis.
    """
    limit = max(limit, 1)
    if len(text) <= limit and text.isprintable():
        return text.rstrip()
    head = text[: limit + _SLACK_CHARACTERS]
    line = _BREAKS.sub(" ", _ESCAPES.sub("", head).strip("\r\n"))
    line = _HARMFUL.sub(_REPLACEMENT, line.expandtabs(_TAB_CELLS)).rstrip()
    if len(line) <= limit and len(head) == len(text):
        return line
    return line[: limit - 1] + _ELLIPSIS


def clean_lines(text: str, limit: int, count: int) -> tuple[str, ...]:
    """The first `count` lines of a text, each made harmless; empty ones are left out."""
    head = text[: count * (limit + _SLACK_CHARACTERS)]
    lines = (clean(line, limit) for line in head.split("\n"))
    return tuple(line for line in lines if line)[:count]
