"""The command line: what may be typed, its help, and the typed value that comes of it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nixvm_loop import __version__
from nixvm_loop.present.choice import Output, Verbosity

if TYPE_CHECKING:
    from collections.abc import Sequence


class Command(StrEnum):
    """The commands."""

    INIT = "init"
    CREATE = "create"
    DELETE = "delete"
    ADOPT = "adopt"
    RELEASE = "release"
    REBUILD = "rebuild"
    WATCH = "watch"
    VERIFY = "verify"
    STATUS = "status"
    DOCTOR = "doctor"
    HISTORY = "history"
    DIFF = "diff"
    ROLLBACK = "rollback"
    SSH = "ssh"
    CONSOLE = "console"
    COMPLETIONS = "completions"
    MANPAGE = "manpage"


class Words(StrEnum):
    """What `completions` writes: a shell's script, or words that such a script asks for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    GUESTS = "guests"
    GENERATIONS = "generations"
    DOMAINS = "domains"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """A call. What a command does not know keeps its default.

    Attributes:
        domain: The domain that is meant, None for the guest's.
        while_running: Whether a running domain may be given another definition, for its next start.
        remote: The command for the guest, as typed after `ssh`.
        generations: The numbers that were typed, in their order.
        flake: The reference, as typed.
        attribute: The configuration's path in the flake, as typed.
    """

    command: Command
    config: Path | None = None
    guest: str | None = None
    output: Output = Output.AUTO
    verbosity: Verbosity = Verbosity.NORMAL
    start: bool = False
    print_xml: bool = False
    no_virtiofs: bool = False
    yes: bool = False
    domain: str | None = None
    while_running: bool = False
    plan: bool = False
    refresh: bool = False
    force: bool = False
    fix: bool = False
    remote: tuple[str, ...] = ()
    generations: tuple[int, ...] = ()
    flake: str | None = None
    attribute: str | None = None
    words: Words | None = None


_EPILOG: Final = """\
examples:
  nixvm-loop init              write nixvm-loop.toml beside the flake
  nixvm-loop create --start    define the guest's domain, then run the first cycle
  nixvm-loop watch             build, boot and verify on each save
  nixvm-loop rebuild           the same once; the exit code tells how it went
  nixvm-loop ssh               a shell in the guest

exit codes: 0 ok, 1 a bug in nixvm-loop, 2 usage or config, 3 build, 4 generation, 5 domain or libvirt,
  6 guest not reached or not booted, 7 verification, 8 done but stdout could not be written (a full disk),
  130 interrupted (q in watch: 0)
"""
_SSH_EXAMPLES: Final = """\
examples:
  nixvm-loop ssh                          a shell in the guest
  nixvm-loop ssh -g demo uname -r         a command; its exit code is passed on
  nixvm-loop ssh -- -c 'odd command'      `--` ends nixvm-loop's own options
"""
_REBUILD_EXAMPLES: Final = """\
examples:
  nixvm-loop rebuild                  build, restart if needed, verify
  nixvm-loop rebuild --force          restart even if it did not
  nixvm-loop rebuild --plan           say what would be done, and why
  nixvm-loop rebuild -o json | jq .   every event as a line of JSON
"""
_VERIFY_EXAMPLES: Final = """\
examples:
  nixvm-loop verify
  nixvm-loop verify --refresh   cure an overlay that hides what the host has
"""
_WATCH_EXAMPLES: Final = """\
examples:
  nixvm-loop watch              live view on a terminal
  nixvm-loop watch -o plain     a line for each cycle and problem, for editors

keys in the live view:
  q quit   r restart the guest   s switch it live   p pause   space a cycle now
"""
_DOCTOR_EXAMPLES: Final = """\
examples:
  nixvm-loop doctor          look everywhere
  nixvm-loop doctor --fix    mend what can safely be mended, asking each time

exit codes: 0 unless an error is found, else that of the first: 2 host or
  config, 5 libvirt or domain, 6 guest not reached, 7 it runs something else;
  an error in the last cycle's logs has that cycle's code
"""
_HISTORY_EXAMPLES: Final = """\
examples:
  nixvm-loop history
  nixvm-loop history -o json | jq '.generations[] | select(.last_good).number'
"""
_DIFF_EXAMPLES: Final = """\
examples:
  nixvm-loop diff        from the last good generation to the newest
  nixvm-loop diff 3      from generation 3 to the current one
  nixvm-loop diff 3 5    from generation 3 to generation 5
"""
_ROLLBACK_EXAMPLES: Final = """\
examples:
  nixvm-loop rollback      to the last good generation before the current one
  nixvm-loop rollback 12   to generation 12
"""
_INIT_EXAMPLES: Final = """\
examples:
  nixvm-loop init                      for the flake here or above
  nixvm-loop init -g demo              for its nixosConfigurations.demo
  nixvm-loop init --flake ./machines   for another flake
"""
_COMPLETIONS_EXAMPLES: Final = """\
examples:
  source <(nixvm-loop completions bash)    for this shell; in ~/.bashrc for all
  nixvm-loop completions zsh > DIR/_nixvm-loop   with DIR in zsh's $fpath
  nixvm-loop completions fish > ~/.config/fish/completions/nixvm-loop.fish
"""
_MANPAGE_EXAMPLES: Final = """\
examples:
  nixvm-loop manpage | man -l -
"""
_CREATE_EXAMPLES: Final = """\
examples:
  nixvm-loop create --print-xml    show the domain, define nothing
  nixvm-loop create --start        define it, then run the first cycle
  nixvm-loop create --no-virtiofs  without the store; create alone puts it back
"""
_ADOPT_EXAMPLES: Final = """\
examples:
  nixvm-loop adopt demo       show what would change, ask, then define it
  nixvm-loop adopt demo -y    without asking
  nixvm-loop release          the domain as it was before, to the letter
"""


def parse(argv: Sequence[str] | None = None) -> Arguments:
    """Read a command line, `sys.argv` by default.

    Raises SystemExit after printing help (0), the version (0) or what is wrong (2).
    """
    given: dict[str, Any] = vars(parser().parse_args(argv))
    words = given.pop("words", None)
    remote = tuple(given.pop("remote", ()))
    numbers = (given.pop("before", None), given.pop("after", None))
    return Arguments(
        **given
        | {
            "command": Command(given["command"]),
            "output": Output(given["output"]),
            "verbosity": Verbosity.VERBOSE if given.pop("verbose") else Verbosity.NORMAL,
            "remote": remote[1:] if remote[:1] == ("--",) else remote,
            "generations": tuple(number for number in numbers if number is not None),
            "words": None if words is None else Words(words),
        }
    )


def parser() -> argparse.ArgumentParser:
    """The parser: also what completions, the man page and the reference are made from."""
    whole = _new(argparse.ArgumentParser, description="Build a NixOS guest on each save, boot it, and prove it.")
    whole.prog = "nixvm-loop"
    whole.epilog = _EPILOG
    whole.add_argument("--version", action="version", version=f"nixvm-loop {__version__}")
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands")

    def add(command: Command, text: str, examples: str = "") -> argparse.ArgumentParser:
        return _new(
            commands.add_parser,
            command.value,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            parents=[_common()],
            epilog=examples,
        )

    init = add(Command.INIT, "write a commented nixvm-loop.toml for a configuration of the flake", _INIT_EXAMPLES)
    init.add_argument("--flake", metavar="REF", help="the flake (default: the one here or above)")
    init.add_argument(
        "--attribute",
        metavar="PATH",
        help="the configuration in it (default: nixosConfigurations.NAME, or the only one)",
    )
    create = add(Command.CREATE, "define the guest's domain from the config", _CREATE_EXAMPLES)
    create.add_argument("--start", action="store_true", help="then run the first cycle: build, boot, verify")
    create.add_argument("--print-xml", action="store_true", help="only print the domain's XML")
    create.add_argument(
        "--no-virtiofs", action="store_true", help="leave out the shared store, to try the guest as in production"
    )
    delete = add(Command.DELETE, "remove the domain, its state and its garbage-collector roots, after asking")
    adopt = add(Command.ADOPT, "put an existing domain on direct kernel boot and the shared store", _ADOPT_EXAMPLES)
    adopt.add_argument("domain", metavar="DOMAIN", nargs="?", help="the domain (default: the guest's)")
    release = add(Command.RELEASE, "give an adopted domain back as it was before, to the letter", _ADOPT_EXAMPLES)
    for command in (delete, adopt, release):
        command.add_argument("-y", "--yes", action="store_true", help="do not ask")
    for command in (adopt, release):
        command.add_argument(
            "--while-running", action="store_true", help="even while it runs: it counts from its next start on"
        )
    rebuild = add(Command.REBUILD, "run one cycle: build, restart if needed, verify", _REBUILD_EXAMPLES)
    rebuild.add_argument("--plan", action="store_true", help="build, say what would be done and why, change nothing")
    rebuild.add_argument("--force", action="store_true", help="restart the guest even if its system is unchanged")
    add(Command.WATCH, "run a cycle on each save until stopped", _WATCH_EXAMPLES)
    verify = add(Command.VERIFY, "run the checks against the running guest", _VERIFY_EXAMPLES)
    verify.add_argument("--refresh", action="store_true", help="first have the guest look at its store anew")
    add(Command.STATUS, "tell how domain, generations and last verdict stand, without asking the guest")
    doctor = add(Command.DOCTOR, "tell what is wrong, where, and the fix", _DOCTOR_EXAMPLES)
    doctor.add_argument("--fix", action="store_true", help="mend what can safely be mended, after asking")
    doctor.add_argument("--yes", action="store_true", help="do not ask")
    add(Command.HISTORY, "list the generations; the running guest says which one it booted", _HISTORY_EXAMPLES)
    diff = add(Command.DIFF, "show what differs from one generation to another", _DIFF_EXAMPLES)
    diff.add_argument("before", metavar="A", nargs="?", type=_generation, help="a generation (default: the last good)")
    diff.add_argument("after", metavar="B", nargs="?", type=_generation, help="another (default: the current one)")
    rollback = add(Command.ROLLBACK, "boot an older generation and verify it", _ROLLBACK_EXAMPLES)
    rollback.add_argument(
        "before", metavar="N", nargs="?", type=_generation, help="which (default: the last good before the current one)"
    )
    ssh = add(Command.SSH, "open a shell in the guest, or run a command there", _SSH_EXAMPLES)
    ssh.add_argument("remote", metavar="COMMAND", nargs=argparse.REMAINDER, help="the command and its arguments")
    add(Command.CONSOLE, "attach to the guest's console")
    completions = add(Command.COMPLETIONS, "print the script that completes commands in a shell", _COMPLETIONS_EXAMPLES)
    completions.add_argument(
        "words",
        metavar="SHELL",
        choices=[word.value for word in Words],
        help="bash, zsh or fish; or guests, generations or domains, for the words that the scripts ask for",
    )
    add(Command.MANPAGE, "print the manual page", _MANPAGE_EXAMPLES)
    return whole


def _generation(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of a generation")
    return int(text)


def _common() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    options = common.add_argument_group("common options")
    options.add_argument(
        "-c", "--config", type=Path, metavar="FILE", help="the config (default: nixvm-loop.toml here or above)"
    )
    options.add_argument("-g", "--guest", metavar="NAME", help="the guest; may be left out when only one is configured")
    options.add_argument(
        "-o",
        "--output",
        choices=[output.value for output in Output],
        default=Output.AUTO.value,
        help="how progress is shown; auto is live on a terminal and plain elsewhere",
    )
    options.add_argument("-v", "--verbose", action="store_true", help="show logs, warnings and tracebacks too")
    return common


def _new(make: Any, *arguments: str, **options: Any) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = make(
        *arguments, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options
    )
    return made
