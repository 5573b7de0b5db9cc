"""From a command line to an exit code, and the one place that tells the user of errors."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Final

from nixvm_loop.arguments import Arguments, parse
from nixvm_loop.errors import InterruptedByUser, NixvmLoopError
from nixvm_loop.present.choice import Verbosity

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator, Sequence

_BUG: Final = 1
_INTERRUPTED: Final = InterruptedByUser.exit_code
_LINE_LIMIT: Final = 4000


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line, `sys.argv` by default, and return its exit code. Nothing but its code comes out of it."""
    try:
        _listen_to_signals()
        try:
            return _run(parse(argv))
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else _BUG
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone. The interpreter flushes once more at its end, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _INTERRUPTED


def _run(arguments: Arguments) -> int:
    _set_up_logging(arguments.verbosity)
    try:
        # The application is imported here because --help and mistyped calls do without it.
        from nixvm_loop.app import run  # noqa: PLC0415

        return run(arguments)
    except (BrokenPipeError, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001  # whatever it is, it is told here and becomes an exit code
        return _tell(error, arguments.verbosity)


def _listen_to_signals() -> None:
    # A script's background job starts with SIGINT ignored. Children would inherit that, and none could be interrupted.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def _tell(error: BaseException, verbosity: Verbosity) -> int:
    told = _to_tell(error)
    if _is_interruption(told):
        _print(f"nixvm-loop: {told.args[0] if told.args else 'interrupted'}")
        return _INTERRUPTED
    if isinstance(told, NixvmLoopError):
        _print(f"nixvm-loop: error: {told.message}", *(f"  {line}" for line in _lines(told.details)))
        if told.hint is not None:
            _print(f"hint: {told.hint}")
        return told.exit_code
    _print(f"nixvm-loop: error: this is a bug in nixvm-loop: {type(told).__name__}: {told}")
    if verbosity is Verbosity.VERBOSE:
        _print(*_traceback(error))
    else:
        _keep_traceback(error)
    return _BUG


def _to_tell(error: BaseException) -> BaseException:
    """What a group of errors comes down to: a bug before a failure, a failure before an interruption."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    return min((_to_tell(inner) for inner in error.exceptions), key=_rank)


def _rank(error: BaseException) -> int:
    if _is_interruption(error):
        return 2
    return 1 if isinstance(error, NixvmLoopError) else 0


def _is_interruption(error: BaseException) -> bool:
    # asyncio's own by its name, because asyncio is not loaded for an error in the configuration.
    return isinstance(error, (KeyboardInterrupt, InterruptedByUser)) or type(error).__name__ == "CancelledError"


def _keep_traceback(error: BaseException) -> None:
    import tempfile  # noqa: PLC0415  # only a bug pays for it

    try:
        with tempfile.NamedTemporaryFile("w", prefix="nixvm-loop-", suffix=".traceback", delete=False) as file:
            file.writelines(f"{line}\n" for line in _traceback(error))
    except OSError:
        _print(*_traceback(error))
    else:
        _print(f"hint: please report it with the traceback in {file.name}")


def _traceback(error: BaseException) -> Iterator[str]:
    import traceback  # noqa: PLC0415  # as above

    return _lines(tuple(traceback.format_exception(error)))


def _lines(texts: tuple[str, ...]) -> Iterator[str]:
    return (line for text in texts for line in text.rstrip("\n").split("\n"))


def _print(*lines: str) -> None:
    from nixvm_loop.present.sanitise import clean  # noqa: PLC0415  # only errors pay for it

    for line in lines:
        print(clean(line, _LINE_LIMIT), file=sys.stderr)  # noqa: T201  # the one place that prints errors


def _set_up_logging(verbosity: Verbosity) -> None:
    import logging  # noqa: PLC0415  # --help does without

    handler: logging.Handler = logging.NullHandler()
    if verbosity is Verbosity.VERBOSE:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(name)s: %(levelname)s: %(message)s"))
        handler.addFilter(_cleaned)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def _cleaned(record: logging.LogRecord) -> bool:
    from nixvm_loop.present.sanitise import clean  # noqa: PLC0415  # as above

    record.msg, record.args = clean(record.getMessage(), _LINE_LIMIT), ()
    return True
