"""A terminal for tests: the few control sequences that the live view uses, and no others."""

from __future__ import annotations

import re

from rich.cells import cell_len

TOKEN = re.compile(r"\x1b\[(\??)([0-9;]*)([A-Za-z])|(\r)|(\n)|([^\x1b\r\n]+)")
FULL_SCREEN_ERASE = "erased at one stroke"


class Screen:
    """Rows of text; what scrolls off the top goes into `scrolled`."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.rows = [""] * height
        self.scrolled: list[str] = []
        self.row = self.column = 0
        self.wraps = self.cursor = True

    def feed(self, text: str) -> None:
        """Obey the text; an unknown sequence is an error."""
        position = 0
        while position < len(text):
            token = TOKEN.match(text, position)
            assert token is not None, f"not understood: {text[position : position + 20]!r}"
            position = token.end()
            self._obey(token)

    def shown(self) -> str:
        """The visible text without trailing blank lines."""
        return "\n".join(row.rstrip() for row in self.rows).rstrip("\n")

    def whole(self) -> str:
        """What scrolled off, and the visible text."""
        return "\n".join([*(row.rstrip() for row in self.scrolled), self.shown()])

    def _obey(self, token: re.Match[str]) -> None:
        private, parameters, letter, back, down, text = token.groups()
        if back:
            self.column = 0
        elif down:
            self.column = 0
            self._down()
        elif text:
            self._write(text)
        elif private:
            assert parameters in {"2026", "25", "7"}
            if parameters == "25":
                self.cursor = letter == "h"
            elif parameters == "7":
                self.wraps = letter == "h"
        else:
            self._control(parameters, letter)

    def _control(self, parameters: str, letter: str) -> None:
        if letter == "A":
            self.row = max(0, self.row - int(parameters or 1))
        elif letter == "K":
            self.rows[self.row] = "" if parameters == "2" else self.rows[self.row][: self.column]
        elif letter == "J":
            self.rows[self.row] = self.rows[self.row][: self.column]
            self.rows[self.row + 1 :] = [""] * (self.height - self.row - 1)
        else:
            assert letter == "m"

    def _down(self) -> None:
        if self.row < self.height - 1:
            self.row += 1
        else:
            self.scrolled.append(self.rows.pop(0))
            self.rows.append("")

    def _write(self, text: str) -> None:
        for char in text:
            if self.column + cell_len(char) > self.width:
                if self.wraps:
                    self.column = 0
                    self._down()
                else:
                    self.column = self.width - 1
            row = self.rows[self.row].ljust(self.column)
            self.rows[self.row] = row[: self.column] + char + row[self.column + 1 :]
            self.column += 1
