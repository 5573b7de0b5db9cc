"""From a command line to an exit code, and the one place that tells the user of errors."""

from __future__ import annotations

import io
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Final

from nixvm_loop.arguments import Arguments, parse
from nixvm_loop.errors import InterruptedByUser, NixvmLoopError, OutputError
from nixvm_loop.present import standard
from nixvm_loop.present.choice import Verbosity
from nixvm_loop.present.stream import LineWriter, is_reader_gone, silence, unwritable

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator, Sequence

_BUG: Final = 1
_INTERRUPTED: Final = InterruptedByUser.exit_code
_LINE_LIMIT: Final = 4000


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line, `sys.argv` by default, and return its exit code. Nothing but its code comes out of it."""
    try:
        standard.open_missing()
        _listen_to_signals()
        return _flush(_code(argv))
    except KeyboardInterrupt:
        return _INTERRUPTED


def _code(argv: Sequence[str] | None) -> int:
    said, told = io.StringIO(), io.StringIO()
    try:
        # What is wrong with the streams is our business, not the parser's.
        with redirect_stdout(said), redirect_stderr(told):
            arguments = parse(argv)
    except SystemExit as error:
        LineWriter(sys.stderr).write(told.getvalue())
        out = LineWriter(sys.stdout)
        out.write(said.getvalue())
        code = error.code if isinstance(error.code, int) else _BUG
        return code if out.lost is None else _incomplete(out.lost, code)
    try:
        return _run(arguments)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else _BUG
    except BrokenPipeError:
        # Whoever read our output has gone.
        silence(sys.stdout)
        return _INTERRUPTED


def _flush(code: int) -> int:
    """Write what is left, which the interpreter would try once more at its end; the exit code that comes of it."""
    try:
        sys.stderr.flush()
    except OSError:
        silence(sys.stderr)
    try:
        sys.stdout.flush()
    except OSError as error:
        silence(sys.stdout)
        return _incomplete(error, code)
    return code


def _incomplete(lost: OSError, code: int) -> int:
    """The exit code of a call whose output was lost, and would else be `code`."""
    if is_reader_gone(lost):
        return code or _INTERRUPTED
    told = unwritable(lost)
    _print(f"nixvm-loop: error: {told.message}")
    return code or told.exit_code


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
    for beside in _flat(error):
        if isinstance(beside, OutputError) and beside is not told:
            _print(f"nixvm-loop: error: {beside.message}")
    if _is_interruption(told):
        _print(f"nixvm-loop: {told.args[0] if isinstance(told, InterruptedByUser) and told.args else 'interrupted'}")
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
    """What a group of errors comes down to: a bug, a failure, an interruption, output that was lost, in this order."""
    return min(_flat(error), key=_rank)


def _flat(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _flat(inner)
    else:
        yield error


def _rank(error: BaseException) -> int:
    if isinstance(error, OutputError):
        return 3
    if _is_interruption(error):
        return 2
    return 1 if isinstance(error, NixvmLoopError) else 0


def _is_interruption(error: BaseException) -> bool:
    # asyncio's own by its name, because asyncio is not loaded for an error in the configuration. A Ctrl-C in a class's
    # body may come as a RuntimeError because of it (cpython#77757).
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, KeyboardInterrupt):
        return True
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

    # Where stderr cannot be written either, the exit code alone has to tell.
    stderr = LineWriter(sys.stderr)
    for line in lines:
        stderr.line(clean(line, _LINE_LIMIT))


def _set_up_logging(verbosity: Verbosity) -> None:
    import logging  # noqa: PLC0415  # --help does without

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(name)s: %(levelname)s: %(message)s"))
    handler.addFilter(_cleaned)
    if verbosity is not Verbosity.VERBOSE:
        # What others log is for the curious, but a bug in a callback is known by nothing else.
        handler.setLevel(logging.ERROR)
        handler.addFilter(logging.Filter("asyncio"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def _cleaned(record: logging.LogRecord) -> bool:
    from nixvm_loop.present.sanitise import clean  # noqa: PLC0415  # as above

    record.msg, record.args = clean(record.getMessage(), _LINE_LIMIT), ()
    return True
