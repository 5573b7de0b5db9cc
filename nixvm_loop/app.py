"""The composition root: from arguments to the command that carries them out."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nixvm_loop import config
from nixvm_loop.arguments import Command
from nixvm_loop.commands.call import Call
from nixvm_loop.errors import UsageError
from nixvm_loop.model.clock import SystemClock

if TYPE_CHECKING:
    from nixvm_loop.arguments import Arguments
    from nixvm_loop.model.settings import GuestSettings, Settings

_WITHOUT_CONFIG: Final = frozenset({Command.INIT, Command.COMPLETIONS, Command.MANPAGE})


def run(arguments: Arguments) -> int:
    """Carry out a command; returns the exit code.

    Raises:
        NixvmLoopError: it could not be carried out; the error knows the exit code.
    """
    # Each command loads only what it needs: `status` is to answer at once.
    command = import_module(f"nixvm_loop.commands.{arguments.command.value}")
    code: int
    if arguments.command in _WITHOUT_CONFIG:
        code = command.run(arguments)
        return code
    clock = SystemClock()
    try:
        # As the watcher names it, should it change.
        file = Path(os.path.abspath(config.find(arguments.config, os.environ, Path.cwd())))  # noqa: PTH100  # links stay
        guest = _guest(arguments, config.load(file))
    except UsageError as error:
        if arguments.command is not Command.DOCTOR:
            raise
        code = command.run_without_config(arguments, error, clock)
        return code
    code = command.run(Call(arguments, file, guest, clock))
    return code


def _guest(arguments: Arguments, settings: Settings) -> GuestSettings:
    if arguments.domain is not None:
        return config.select_for(settings, arguments.domain, arguments.guest)
    return config.select(settings, arguments.guest)
