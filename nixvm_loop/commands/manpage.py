"""`manpage`: the manual page, made from the parser's own texts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from nixvm_loop import __version__
from nixvm_loop.arguments import parser
from nixvm_loop.commands.reference import EXIT_CODES, common, page, subcommands
from nixvm_loop.errors import UsageError
from nixvm_loop.present.choice import Output
from nixvm_loop.present.stream import LineWriter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nixvm_loop.arguments import Arguments
    from nixvm_loop.commands.reference import Block, Item, Page

_TITLES: Final = {EXIT_CODES: "exit status"}
_AROUND: Final = (
    (
        "environment",
        (
            ("NIXVM_LOOP_CONFIG", "the config, where --config names none"),
            ("NO_COLOR", "when set and not empty, nothing is coloured"),
            ("XDG_STATE_HOME", "where state is kept unless the config says otherwise (default: ~/.local/state)"),
        ),
    ),
    (
        "files",
        (
            ("nixvm-loop.toml", "the config, in the working directory or above; `nixvm-loop init` writes a first one"),
            ("$XDG_STATE_HOME/nixvm-loop/GUEST", "a guest's generations, logs, keys and history"),
        ),
    ),
)
_SEE_ALSO: Final = "nix(1), virsh(1), ssh(1)"


def run(arguments: Arguments) -> int:
    """Print the page."""
    if arguments.output is Output.JSON:
        raise UsageError("a manual page is not JSON", hint="leave out -o json")
    LineWriter(sys.stdout).write(roff())
    return 0


def roff() -> str:
    """The page in the language of man(7)."""
    return "".join(f"{line}\n" for line in _lines())


def _lines() -> Iterator[str]:
    whole = parser()
    first = page(whole.prog, whole)
    commands = subcommands(whole)
    yield f'.TH {whole.prog.upper()} 1 "" "{whole.prog} {__version__}" "User Commands"'
    # Commands are to be copied as they are: not hyphenated, not stretched.
    yield from (".nh", ".ad l")
    yield from (".SH NAME", f"{_plain(whole.prog)} \\- {_plain(first.text[:1].lower() + first.text[1:].rstrip('.'))}")
    yield from (".SH SYNOPSIS", f".B {_plain(whole.prog)}", _plain(first.usage))
    yield from (".SH DESCRIPTION", _plain(first.text))
    yield from (".SH COMMANDS", *(line for name, command in commands for line in _command(page(name, command))))
    yield from (".SH COMMON OPTIONS", *_items(common(commands[0][1])))
    for block in first.blocks:
        yield from (f".SH {_TITLES.get(block.title, block.title).upper()}", *_block(block))
    for title, pairs in _AROUND:
        yield f".SH {title.upper()}"
        for term, text in pairs:
            yield from (".TP", f".B {_plain(term)}", _plain(text))
    yield from (".SH SEE ALSO", _plain(_SEE_ALSO))


def _command(command: Page) -> Iterator[str]:
    yield from (f".SS {_plain(command.name)} {_plain(command.usage)}", _plain(command.text))
    yield from _items(command.items)
    for block in command.blocks:
        yield from (".PP", _plain(f"{block.title[:1].upper()}{block.title[1:]}:"), *_block(block))


def _items(items: Iterable[Item]) -> Iterator[str]:
    for item in items:
        yield from (".TP", f".B {_plain(item.typed)}", _plain(item.text))


def _block(block: Block) -> Iterator[str]:
    items = block.items
    if not items:
        yield _plain(block.text)
    for item in items:
        yield from (".TP", f".B {_plain(item.typed)}", _plain(item.text) or "\\&")


def _plain(text: str) -> str:
    """Text that roff takes as it is: no escapes, no requests, hyphens that can be copied into a shell."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    escaped = "".join(character if character.isascii() else f"\\[u{ord(character):04X}]" for character in escaped)
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
