from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path

import pytest
from docslib.command_line import markdown

from nixvm_loop.arguments import Arguments, Command, parser
from nixvm_loop.commands import manpage
from nixvm_loop.commands.reference import Item, common, page, subcommands
from nixvm_loop.errors import UsageError
from nixvm_loop.present.choice import Output

DOCUMENT = Path(__file__).parents[2] / "docs/reference/command-line.md"


def test_the_document_is_up_to_date() -> None:
    """docs/reference/command-line.md is what scripts/reference would write."""
    assert DOCUMENT.read_text() == markdown(), "run scripts/reference"


@pytest.mark.parametrize("text", [markdown(), manpage.roff().replace("\\-", "-")], ids=["document", "page"])
def test_all_is_said(text: str) -> None:
    """Each command, each option of it and each sentence of the help is there."""
    whole = parser()
    for name, command in subcommands(whole):
        assert f"{name} [OPTIONS]" in text
        for action in command._actions:
            assert action.dest == "help" or str(action.help) in text
            assert action.dest == "help" or all(option in text for option in action.option_strings)
    assert "a bug in nixvm-loop" in text
    assert "nixvm-loop rebuild --plan" in text


def test_a_parser_as_a_page() -> None:
    """Arguments are shown as they are typed, examples and exit codes are taken apart, other blocks are kept."""
    made = argparse.ArgumentParser(
        description="Does.",
        epilog="examples:\n  x -a   does a\n  x\n\nkeys:\n  a  b   c\n\nexit codes: 0 fine, 1 no, or so,\n  2 never\n",
    )
    made.add_argument_group("common options").add_argument("-c", "--config", metavar="FILE", help="the config")
    made.add_argument("-n", "--number", choices=["1", "2"], help="how many")
    made.add_argument("--all", action="store_true", help="all")
    made.add_argument("place", metavar="PLACE", help="where")
    made.add_argument("further", nargs="?", help="and where")
    made.add_argument("rest", metavar="WORD", nargs=argparse.REMAINDER, help="what else")
    found = page("x", made)
    assert found.usage == "[OPTIONS] [--number 1|2] [--all] PLACE [FURTHER] [WORD …]"
    assert found.items[0] == Item("-n 1|2, --number 1|2", "how many")
    assert [item.typed for item in found.items[1:]] == ["--all", "PLACE", "FURTHER", "WORD"]
    assert common(made) == (Item("-c FILE, --config FILE", "the config"),)
    examples, keys, codes = found.blocks
    assert examples.items == (Item("x -a", "does a"), Item("x", ""))
    assert (keys.title, keys.items, keys.text) == ("keys", (), "a, b, c")
    assert codes.items == (Item("0", "fine"), Item("1", "no, or so"), Item("2", "never"))


@pytest.mark.parametrize(
    "command",
    [
        ["groff", "-man", "-ww", "-z", "-Tutf8"],
        ["man", "--warnings", "--local-file"],
        ["mandoc", "-T", "lint", "-W", "error"],
        ["lexgrog"],
    ],
    ids=lambda command: command[0],
)
def test_the_page_is_sound(command: list[str], tmp_path: Path) -> None:
    """Those who show and index manual pages take it without a warning."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    (tmp_path / "nixvm-loop.1").write_text(manpage.roff())
    done = subprocess.run([*command, tmp_path / "nixvm-loop.1"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_roff_would_take_for_itself() -> None:
    """Backslashes, dots and quotes at the start, and hyphens come out as they went in."""
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    for text in (".TP a", "'b", "c\\fBd", "--all", "e…"):
        source = f".TH X 1\n.SH NAME\n{manpage._plain(text)}\n"
        shown = subprocess.run(
            ["groff", "-man", "-Tutf8", "-P-cbou"], input=source, capture_output=True, text=True, check=True
        )
        assert text in map(str.strip, shown.stdout.splitlines())


def test_no_json() -> None:
    """A manual page is not passed off as a stream of events."""
    with pytest.raises(UsageError, match="not JSON"):
        manpage.run(Arguments(command=Command.MANPAGE, output=Output.JSON))
