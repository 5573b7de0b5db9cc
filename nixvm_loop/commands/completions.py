"""`completions`: the scripts that complete commands in a shell, and the words that they ask for while one types."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nixvm_loop import config
from nixvm_loop.arguments import Words, parser
from nixvm_loop.commands.reference import subcommands
from nixvm_loop.errors import NixvmLoopError, UsageError
from nixvm_loop.present.choice import Output
from nixvm_loop.present.stream import LineWriter

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from nixvm_loop.arguments import Arguments
    from nixvm_loop.model.settings import Settings

_SCRIPTS: Final = (Words.BASH, Words.ZSH, Words.FISH)
# What an argument is completed with, by its name in the parser. Each word is a function of the preambles below.
_GUESTS: Final = {"bash": "_nixvm_loop_guests", "zsh": "_nixvm_loop_guests", "fish": "(_nixvm_loop_words guests)"}
_GENERATIONS: Final = {
    "bash": "_nixvm_loop_generations",
    "zsh": "_nixvm_loop_generations",
    "fish": "(_nixvm_loop_words generations)",
}
_DOMAINS: Final = {"bash": "_nixvm_loop_domains", "zsh": "_nixvm_loop_domains", "fish": "(_nixvm_loop_words domains)"}
_DYNAMIC: Final = {"guest": _GUESTS, "before": _GENERATIONS, "after": _GENERATIONS, "domain": _DOMAINS}
# Bash puts a word into the line as it is: a name that would mean something else there is not offered.
_PLAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_LIBVIRT_TIMEOUT_S: Final = 1.0
# They hand on which config and guest were typed so far, and say nothing of what goes wrong.
_PREAMBLES: Final = {
    "bash": r"""
_nixvm_loop_words() {
  local given=() i word
  for ((i = 1; i + 1 < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
      -c | --config | -g | --guest)
        word=${COMP_WORDS[i + 1]}
        if [[ $word == = ]]; then word=${COMP_WORDS[i + 2]}; fi
        given+=("${COMP_WORDS[i]}" "${word//[\"\'\\]/}")
        ;;
    esac
  done
  while IFS= read -r word; do
    if [[ $word == "$2"* ]]; then printf '%s\n' "$word"; fi
  done < <(command nixvm-loop completions "$1" "${given[@]}" 2>/dev/null)
}
_nixvm_loop_guests() { _nixvm_loop_words guests "${1-}"; }
_nixvm_loop_generations() { _nixvm_loop_words generations "${1-}"; }
_nixvm_loop_domains() { _nixvm_loop_words domains "${1-}"; }
""",
    "zsh": r"""
_nixvm_loop_words() {
  local -a given found
  local -i i
  for ((i = 1; i < CURRENT; i++)); do
    case ${words[i]} in
      (-c|--config|-g|--guest) ((i + 1 < CURRENT)) && given+=("${words[i]}" "${(Q)words[i + 1]}") ;;
      (--config=*|--guest=*) given+=("${(Q)words[i]}") ;;
    esac
  done
  found=(${(f)"$(command nixvm-loop completions "$1" "${given[@]}" 2>/dev/null)"})
  compadd -V "$1" -a found
}
_nixvm_loop_guests() { _nixvm_loop_words guests }
_nixvm_loop_generations() { _nixvm_loop_words generations }
_nixvm_loop_domains() { _nixvm_loop_words domains }
""",
    "fish": r"""
function _nixvm_loop_words
  set -l given
  set -l option
  for token in (commandline -opc)
    if test -n "$option"
      set -a given $option $token
      set option
      continue
    end
    switch $token
      case -c --config -g --guest
        set option $token
      case '--config=*' '--guest=*'
        set -a given $token
    end
  end
  command nixvm-loop completions $argv[1] $given 2>/dev/null
end
""",
}


def run(arguments: Arguments) -> int:
    """Print a script, or words, one a line; raises UsageError where the script cannot be made."""
    out = LineWriter(sys.stdout)
    if arguments.output is Output.JSON:
        raise UsageError("what a shell reads is not JSON", hint="leave out -o json")
    if arguments.words in _SCRIPTS:
        out.write(script(arguments.words))
    else:
        for word in _words(arguments):
            out.line(word)
    return 0


def script(shell: Words) -> str:
    """The script for bash, zsh or fish; raises UsageError where shtab is missing or too old."""
    try:
        import shtab  # noqa: PLC0415  # a shell asks for words far more often than anybody for a script
    except ImportError as error:
        raise UsageError("the Python library shtab, which makes the scripts, is missing", hint="install it") from error
    if shell not in shtab.SUPPORTED_SHELLS:
        known = ", ".join(shtab.SUPPORTED_SHELLS)
        raise UsageError(
            f"the installed shtab {shtab.__version__} knows only {known}", hint="install shtab 1.10 or newer"
        )
    whole = parser()
    for part in (whole, *(command for _, command in subcommands(whole))):
        for action in part._actions:  # noqa: SLF001  # argparse has no public list of what was added
            _mark(action, shtab.FILE, shtab.DIRECTORY)
    text: str = shtab.complete(whole, shell.value, preamble=_PREAMBLES[shell.value])
    return text


def _mark(action: argparse.Action, file: object, directory: object) -> None:
    known = {"config": file, "flake": directory, **_DYNAMIC}
    if action.dest in known:
        action.complete = known[action.dest]  # type: ignore[attr-defined]  # it is how shtab is told
    if action.dest == "words":
        action.choices = [shell.value for shell in _SCRIPTS]


def _words(arguments: Arguments) -> Iterable[str]:
    try:
        settings = config.load(config.find(arguments.config, os.environ, Path.cwd()))
        if arguments.words is Words.GUESTS:
            return tuple(settings.guests)
        if arguments.words is Words.DOMAINS:
            return asyncio.run(_domains(settings, arguments.guest))
        return _generations(config.select(settings, arguments.guest).state_dir)
    except NixvmLoopError:
        # Whoever presses the tabulator key does not want to read of it: there is just nothing to complete.
        return ()


async def _domains(settings: Settings, guest: str | None) -> Iterable[str]:
    """What could be adopted: libvirt's domains, less those that `create` makes; none where libvirt takes its time."""
    from nixvm_loop.domain import Connection  # noqa: PLC0415  # as below

    guests = settings.guests.values() if guest is None else (config.select(settings, guest),)
    made = {(one.libvirt_uri, one.domain) for one in settings.guests.values() if one.machine is not None}
    found: dict[str, None] = {}
    try:
        async with asyncio.timeout(_LIBVIRT_TIMEOUT_S):
            for uri in {one.libvirt_uri: None for one in guests}:
                # Not closed: the process ends right after, and a libvirt that hangs is not to be waited for.
                names = await (await Connection.open(uri)).names()
                found |= dict.fromkeys(name for name in names if (uri, name) not in made)
    except TimeoutError:
        return ()
    return tuple(name for name in found if _PLAIN.fullmatch(name))


def _generations(state_dir: Path) -> Iterable[str]:
    from nixvm_loop.generation.store import Generations  # noqa: PLC0415  # guests are told without

    return map(str, sorted(Generations(state_dir).numbers(), reverse=True))
