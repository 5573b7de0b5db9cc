"""docs/reference/command-line.md, made from the command line's own parser."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nixvm_loop.arguments import parser
from nixvm_loop.commands.reference import EXAMPLES, common, page, subcommands

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nixvm_loop.commands.reference import Block, Item, Page


def markdown() -> str:
    """The whole document."""
    return "\n\n".join(_paragraphs()) + "\n"


def _paragraphs() -> Iterator[str]:
    whole = parser()
    first, commands = page(whole.prog, whole), subcommands(whole)
    yield "# The command line"
    yield "<!-- scripts/reference makes this page from nixvm_loop/arguments.py: change that. -->"
    yield f"`{whole.prog} {first.usage}`"
    yield "\n".join(f"- [`{name}`](#{name}): {command.description or ''}" for name, command in commands)
    for block in first.blocks:
        yield f"## {_title(block)}"
        yield _block(block)
    yield "## Common options"
    yield "They follow the command."
    yield _items(common(commands[0][1]))
    for name, command in commands:
        yield from _command(whole.prog, page(name, command))


def _command(program: str, command: Page) -> Iterator[str]:
    yield f"## {command.name}"
    yield f"`{program} {command.name} {command.usage}`"
    yield command.text
    if command.items:
        yield _items(command.items)
    for block in command.blocks:
        if block.title != EXAMPLES:
            yield f"{_title(block)}:"
        yield _block(block)


def _items(items: Iterable[Item]) -> str:
    return "\n".join(f"- `{item.typed}`: {item.text}" for item in items)


def _block(block: Block) -> str:
    if block.title == EXAMPLES:
        return "\n".join(("```console", *map(_example, block.items), "```"))
    return _items(block.items) or block.text


def _example(item: Item) -> str:
    return f"$ {item.typed:<38}  # {item.text}" if item.text else f"$ {item.typed}"


def _title(block: Block) -> str:
    return f"{block.title[:1].upper()}{block.title[1:]}"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(markdown(), encoding="utf-8")
