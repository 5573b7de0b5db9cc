"""The command line as a document: what the parser says, ordered for the manual page and for the docs. Pure."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMON: Final = "common options"
EXAMPLES: Final = "examples"
EXIT_CODES: Final = "exit codes"
_EXAMPLE: Final = re.compile(r"  (?P<command>\S.*?)(?:  +(?P<text>\S.*))?")


@dataclass(frozen=True, slots=True)
class Item:
    """An option or an argument: how it is typed, and what it does."""

    typed: str
    text: str


@dataclass(frozen=True, slots=True)
class Block:
    """A part of an epilog: a title, and what is below it."""

    title: str
    lines: tuple[str, ...]

    @property
    def items(self) -> tuple[Item, ...]:
        """The examples with what they do, the exit codes with what they mean; none for a block of another kind."""
        if self.title == EXAMPLES:
            found = [match for line in self.lines if (match := _EXAMPLE.fullmatch(line))]
            return tuple(Item(match["command"], match["text"] or "") for match in found)
        if self.title == EXIT_CODES:
            codes = re.split(r", (?=\d)", self.text)
            return tuple(Item(*code.split(" ", 1)) for code in codes)
        return ()

    @property
    def text(self) -> str:
        """The block as running text."""
        return " ".join(re.sub(" {2,}", ", ", line.strip()) for line in self.lines)


@dataclass(frozen=True, slots=True)
class Page:
    """The whole program, or a command.

    Attributes:
        usage: The arguments as they follow its name.
        items: Its own arguments and options, and where they are, all commands' common options not included.
    """

    name: str
    text: str
    usage: str
    items: tuple[Item, ...]
    blocks: tuple[Block, ...]


def page(name: str, parser: argparse.ArgumentParser) -> Page:
    """What a parser says of itself."""
    own = [action for action in _actions(parser) if not _is_common(parser, action) and action.dest != "help"]
    usage = [_in_usage(action) for action in own]
    has_common = len(own) + 1 < len(_actions(parser))
    items = [Item(_typed(action), action.help or "") for action in own if action.help is not None]
    return Page(
        name,
        parser.description or "",
        " ".join([*(["[OPTIONS]"] if has_common else []), *usage]),
        tuple(items),
        tuple(_blocks(parser.epilog or "")),
    )


def common(parser: argparse.ArgumentParser) -> tuple[Item, ...]:
    """The common options of a command."""
    return tuple(Item(_typed(action), action.help or "") for action in _actions(parser) if _is_common(parser, action))


def subcommands(parser: argparse.ArgumentParser) -> list[tuple[str, argparse.ArgumentParser]]:
    """The commands, as they are listed."""
    found = [action for action in _actions(parser) if isinstance(action, argparse._SubParsersAction)]  # noqa: SLF001  # argparse has no public way
    return [pair for action in found for pair in action.choices.items()]


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return parser._actions  # noqa: SLF001  # as above


def _is_common(parser: argparse.ArgumentParser, action: argparse.Action) -> bool:
    groups = [group for group in parser._action_groups if group.title == COMMON]  # noqa: SLF001  # as above
    return any(action in group._group_actions for group in groups)  # noqa: SLF001  # as above


def _typed(action: argparse.Action) -> str:
    value = _value(action)
    if not action.option_strings:
        return value
    return ", ".join(f"{option} {value}".rstrip() for option in action.option_strings)


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    if action.metavar is None and action.choices is not None:
        return "|".join(map(str, action.choices))
    return str(action.metavar or action.dest.upper())


def _in_usage(action: argparse.Action) -> str:
    if action.option_strings:
        return f"[{action.option_strings[-1]} {_value(action)}".rstrip() + "]"
    match action.nargs:
        case argparse.REMAINDER:
            return f"[{_value(action)} …]"
        case "?":
            return f"[{_value(action)}]"
        case argparse.PARSER:
            return f"{_value(action)} …"
        case _:
            return _value(action)


def _blocks(epilog: str) -> Iterator[Block]:
    for text in filter(None, epilog.strip("\n").split("\n\n")):
        first, *rest = text.splitlines()
        title, _, begun = first.partition(":")
        yield Block(title, tuple([f"  {begun.strip()}", *rest] if begun.strip() else rest))
