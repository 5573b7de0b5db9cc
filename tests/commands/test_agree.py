from __future__ import annotations

import io
import sys

import pytest

from nixvm_loop.commands.agree import agreed


@pytest.mark.parametrize(
    ("typed", "yes"),
    [(b"y\n", True), (b" YES \n", True), (b"\n", False), (b"n\n", False), (b"", False), (b"\xfc\n", False)],
)
def test_anything_but_yes_is_a_no(
    typed: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, yes: bool
) -> None:
    """What is no text as well; and no name in the question makes the terminal do anything."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed), encoding="utf-8", errors="strict"))
    assert agreed("Remove domain a\x9b31m\x1b[2J?") is yes
    shown = capsys.readouterr().err
    assert shown.endswith("? [y/N] ")
    assert all(character.isprintable() for character in shown)
