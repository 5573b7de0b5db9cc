"""`init`: a first configuration file beside the flake, made from what the flake has and what libvirt knows."""

from __future__ import annotations

import asyncio
import difflib
import os
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nixvm_loop import config, present
from nixvm_loop.commands.agree import answer
from nixvm_loop.config.flakes import default_attribute
from nixvm_loop.config.starter import Owner, Starter, guest_name
from nixvm_loop.config.typed import is_expressible, last_name, typed_attribute, typed_flake, typed_name
from nixvm_loop.errors import BuildError, ConfigError, DomainError, UsageError
from nixvm_loop.events.emitter import Emitter
from nixvm_loop.events.types import Notice
from nixvm_loop.files import NewFile, create_all
from nixvm_loop.interrupt import interruptible
from nixvm_loop.model.clock import SystemClock
from nixvm_loop.model.values import Severity
from nixvm_loop.present.choice import Output
from nixvm_loop.present.sanitise import clean
from nixvm_loop.present.stream import LineWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixvm_loop.arguments import Arguments
    from nixvm_loop.config.flakes import Flake
    from nixvm_loop.model.settings import GuestSettings

_CONFIGURATIONS: Final = "nixosConfigurations"
_SILENCE_S: Final = 2.0
_LIBVIRT_TIMEOUT_S: Final = 10.0
_NAME_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True)
class Desk:
    """Where a call of `init` works: the folder it is in, the flake, the configuration file to be."""

    cwd: Path
    flake: Flake
    file: Path

    def reference(self) -> str:
        """The flake as the file is to name it: relative where one of their folders holds the other."""
        folder, directory = self.file.parent, self.flake.directory
        if directory is None or not self.flake.reference.startswith(str(directory)):
            return self.flake.reference
        query = self.flake.reference[len(str(directory)) :]
        if not (directory.is_relative_to(folder) or folder.is_relative_to(directory)):
            return self.flake.reference
        path = os.path.relpath(directory, folder)
        return f"{path if path.startswith('.') else f'./{path}'}{query}"


@dataclass(frozen=True, slots=True)
class Standing:
    """What libvirt says of the domain.

    Attributes:
        owner: Whose it is to be.
        boots_directly: Whether there is one that boots a kernel of its own.
        problem: Why libvirt could not be asked.
    """

    owner: Owner
    boots_directly: bool = False
    problem: DomainError | None = None


def run(arguments: Arguments) -> int:
    """Write the file and say what comes next; raises UsageError when it is there already, or somebody has to choose."""
    desk = _desk(arguments, Path.cwd())
    clock = SystemClock()
    with present.sink(arguments.output, sys.stdout, sys.stderr, clock, verbosity=arguments.verbosity) as sink:
        emit = Emitter((sink,), clock)
        _check_free(desk.file)
        starter = _starter(arguments, desk, emit)
        settings = _settings(starter, desk)
        standing = asyncio.run(interruptible(_ask_libvirt(settings)))
        starter = replace(starter, owner=standing.owner)
        _write((NewFile(desk.file, starter.text()),))
        for notice in _notices(desk, settings, standing):
            emit.bound(guest=starter.name)(notice)
    return 0


def _write(files: Sequence[NewFile]) -> None:
    try:
        create_all(files)
    except FileExistsError as error:
        raise _taken(Path(error.filename)) from error
    except OSError as error:
        raise UsageError(f"{error.filename or files[0].path} cannot be written: {error.strerror}") from error
    except UnicodeEncodeError as error:
        raise UsageError("the flake's folder has a name that is not UTF-8, which no configuration can hold") from error


def _desk(arguments: Arguments, cwd: Path) -> Desk:
    flake = _flake_here(cwd) if arguments.flake is None else typed_flake(arguments.flake, cwd)
    directory = flake.directory
    if directory is not None and "dir=" not in flake.reference and not (directory / "flake.nix").exists():
        raise UsageError(f"there is no flake.nix in {directory}", hint="`nix flake init` makes one")
    if arguments.config is not None:
        return Desk(cwd, flake, Path(os.path.normpath(cwd / arguments.config.expanduser())))
    return Desk(cwd, flake, (directory or cwd) / config.FILE_NAME)


def _flake_here(cwd: Path) -> Flake:
    for folder in (cwd, *cwd.parents):
        if (folder / "flake.nix").exists():
            return typed_flake(".", folder)
        # Nix looks no further either.
        if (folder / ".git").exists():
            break
    raise UsageError(
        f"there is no flake.nix in {cwd} or above", hint="--flake names a flake elsewhere; `nix flake init` makes one"
    )


def _check_free(file: Path) -> None:
    if os.path.lexists(file):
        raise _taken(file)


def _taken(file: Path) -> UsageError:
    hint = "for one guest more, add a table [guests.NAME] to it; for a new file, move it away"
    return UsageError(f"{file} is there already{_what_is_in(file)}; nothing was changed", hint=hint)


def _what_is_in(file: Path) -> str:
    if not file.exists():
        return ", a link to nowhere"
    if not file.is_file():
        return ", and no file"
    try:
        guests = config.load(file).guests
    except ConfigError:
        return " and has problems, which `nixvm-loop status` tells"
    return f" and configures {', '.join(guests)}"


def _starter(arguments: Arguments, desk: Desk, emit: Emitter) -> Starter:
    parent, wanted = _CONFIGURATIONS, arguments.guest
    if arguments.attribute is not None:
        parent, wanted = last_name(typed_attribute(arguments.attribute, desk.cwd))
    names = asyncio.run(interruptible(_names(desk, parent, emit)))
    name = _chosen(names, parent, wanted, desk, arguments)
    attribute = _path(parent, name)
    guest = guest_name(name) if arguments.guest in {None, name} else typed_name(arguments.guest or "", desk.cwd)
    return Starter(guest, desk.reference(), arguments.attribute or attribute)


def _path(parent: str, name: str) -> str:
    path = default_attribute(name)
    return path if parent == _CONFIGURATIONS else f"{parent}{path.removeprefix(_CONFIGURATIONS)}".lstrip(".")


async def _names(desk: Desk, parent: str, emit: Emitter) -> tuple[str, ...]:
    from nixvm_loop.nix import names_in  # noqa: PLC0415  # a file that is there already is told of without

    settings = _settings(Starter("new", desk.reference(), default_attribute("new")), desk)
    patience = Notice(Severity.INFO, f"asking Nix what {desk.flake.reference} has; it may have to fetch inputs", None)
    told = asyncio.get_running_loop().call_later(_SILENCE_S, emit, patience)
    try:
        return await names_in(settings, parent)
    finally:
        told.cancel()


def _chosen(names: Sequence[str], parent: str, wanted: str | None, desk: Desk, arguments: Arguments) -> str:
    usable = [name for name in names if is_expressible(_path(parent, name), desk.cwd)]
    shown = [clean(name, _NAME_CHARACTERS) for name in usable]
    if wanted is not None and wanted in usable:
        return wanted
    if not usable:
        raise _nothing(desk, parent, names)
    if wanted is not None:
        raise _unknown(desk, parent, wanted, shown)
    if len(usable) == 1:
        return usable[0]
    if arguments.output is not Output.JSON and sys.stdin.isatty() and sys.stderr.isatty():
        return usable[_asked(shown)]
    raise UsageError(
        f"{desk.flake.reference} has {len(usable)} configurations, and there is nobody to ask",
        hint=f"choose one with --guest: {', '.join(shown)}",
    )


def _nothing(desk: Desk, parent: str, names: Sequence[str]) -> BuildError:
    if names:
        told = ", ".join(clean(name, _NAME_CHARACTERS) for name in names)
        message = f"no configuration in {desk.flake.reference} has a name that can be written in the config: {told}"
        return BuildError(message, hint='name it without ", #, ^, $, \\, { and }')
    hint = (
        "a flake for a guest has outputs.nixosConfigurations.NAME = nixpkgs.lib.nixosSystem { … }; see: nix flake show"
    )
    return BuildError(f"{desk.flake.reference} has no {parent}", hint=hint)


def _unknown(desk: Desk, parent: str, wanted: str, shown: Sequence[str]) -> UsageError:
    close = difflib.get_close_matches(wanted, shown, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    hint += f"there are: {', '.join(shown)}; a guest of another name needs --attribute as well"
    return UsageError(f"{desk.flake.reference} has no {_path(parent, wanted)}", hint=hint)


def _asked(shown: Sequence[str]) -> int:
    # Between two runs of the event loop, so that Ctrl-C ends the question at once.
    err = LineWriter(sys.stderr)
    for number, name in enumerate(shown, 1):
        err.line(f"{number:3}  {name}")
    while True:
        err.write(f"Which configuration? [1-{len(shown)}] ")
        typed = answer()
        chosen = typed.strip()
        if not typed:
            raise UsageError("none was chosen; nothing was written")
        if chosen in shown:
            return shown.index(chosen)
        if chosen.isascii() and chosen.isdecimal() and 1 <= int(chosen) <= len(shown):
            return int(chosen) - 1


def _settings(starter: Starter, desk: Desk) -> GuestSettings:
    """What the configuration file will mean."""
    return config.loads(starter.text(), desk.file).guests[starter.name]


async def _ask_libvirt(settings: GuestSettings) -> Standing:
    from nixvm_loop.domain import Connection  # noqa: PLC0415  # the slowest import of this command

    try:
        async with asyncio.timeout(_LIBVIRT_TIMEOUT_S):
            # Not closed: the process ends soon, and a libvirt that hangs is not to be waited for.
            connection = await Connection.open(settings.libvirt_uri)
            domain = await connection.find(settings.domain)
            definition = None if domain is None else await domain.definition()
    except DomainError as error:
        return Standing(Owner.NIXVM_LOOP, problem=error)
    except TimeoutError:
        problem = DomainError(f"libvirt did not answer within {_LIBVIRT_TIMEOUT_S:g}s")
        return Standing(Owner.NIXVM_LOOP, problem=problem)
    if definition is None:
        return Standing(Owner.NIXVM_LOOP)
    ours = definition.owner is not None and definition.owner.state_dir == str(settings.state_dir)
    return Standing(Owner.NIXVM_LOOP if ours else Owner.USER, definition.boots_directly)


def _notices(desk: Desk, settings: GuestSettings, standing: Standing) -> Sequence[Notice]:
    wrote = f"wrote {_shown(desk.file, desk.cwd)}: guest {settings.name} is {settings.attribute}"
    machine = f"[guests.{settings.name}.machine]"
    if standing.owner is Owner.USER:
        theirs = f"libvirt has a domain {settings.domain} already, so {machine} is left out: the domain is yours"
        adopt = f"adopt {shlex.quote(settings.domain)}"
        boots, does = _command(desk, "rebuild"), _command(desk, adopt)
        hint = f"{does} puts it on direct kernel boot and the shared store"
        if standing.boots_directly:
            hint = f"{boots} builds and boots its system; if it lacks the shared store: {does}"
        return Notice(Severity.INFO, wrote, None), Notice(Severity.INFO, theirs, hint)
    done = Notice(Severity.INFO, wrote, f"{_command(desk, 'create --start')} defines its domain and boots it")
    if standing.problem is None:
        return (done,)
    unknown = f"whether there is a domain {settings.domain} is not known: {standing.problem.message}"
    hint = f"if there is one of your own, remove {machine} and see nixvm-loop adopt --help"
    return Notice(Severity.WARNING, unknown, hint), done


def _command(desk: Desk, command: str) -> str:
    """The command as one types it in the folder that `init` was called in."""
    try:
        found = config.find(None, os.environ, desk.cwd) == desk.file
    except ConfigError:
        found = False
    return f"nixvm-loop {command}" + ("" if found else f" -c {shlex.quote(_shown(desk.file, desk.cwd))}")


def _shown(file: Path, cwd: Path) -> str:
    return str(file.relative_to(cwd)) if file.is_relative_to(cwd) else str(file)
