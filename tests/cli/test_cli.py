from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from nixvm_loop.cli import main
from nixvm_loop.errors import (
    BuildError,
    ConfigError,
    HostKeyError,
    InterruptedByUser,
    OutputError,
    VerificationError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nixvm_loop.arguments import Arguments

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(autouse=True)
def signals_as_they_were() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def application(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Arguments], int]], None]:
    """Puts a function in the application's place."""

    def put(function: Callable[[Arguments], int]) -> None:
        app = ModuleType("nixvm_loop.app")
        app.run = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "nixvm_loop.app", app)

    return put


def raising(error: BaseException) -> Callable[[Arguments], int]:
    def run(_arguments: Arguments) -> int:
        raise error

    return run


def test_the_exit_code_is_the_applications(application: Callable[..., None]) -> None:
    """What the application returns is what the process exits with."""
    application(lambda arguments: len(arguments.remote))
    assert main(["ssh", "a", "b", "c"]) == 3


def test_an_error_is_told_once(application: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    """Message, details and hint go to stderr, stdout stays clean, and the class gives the exit code."""
    application(raising(ConfigError("x.toml: 2 problems", hint="fix them", details=("first", "second\nthird"))))
    assert main(["rebuild", "-o", "json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "nixvm-loop: error: x.toml: 2 problems\n  first\n  second\n  third\nhint: fix them\n"


def test_errors_are_harmless(application: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a log put into an error, no control character reaches the terminal."""
    nasty = "a\x1b[2Jb\x07\x9b31mc\u202ed\r"
    application(raising(BuildError(nasty, hint=nasty, details=(nasty,))))
    assert main(["rebuild"]) == 3
    err = capsys.readouterr().err
    assert all(character.isprintable() or character == "\n" for character in err)
    assert "\u202e" not in err


class _Named:
    """Its name is told to it in a class's body; Ctrl-C comes just then."""

    def __set_name__(self, owner: type, name: str) -> None:
        raise KeyboardInterrupt


def in_the_body_of_a_class() -> BaseException:
    """What an interrupted import raises."""
    try:
        type("Module", (), {"field": _Named()})
    except BaseException as error:  # noqa: BLE001  # which kind it is depends on the Python
        return error
    raise AssertionError


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), InterruptedByUser("interrupted"), asyncio.CancelledError(), in_the_body_of_a_class()],
)
def test_interrupted(
    error: BaseException, application: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C is exit 130 and no error."""
    application(raising(error))
    assert main(["watch"]) == 130
    assert capsys.readouterr().err == "nixvm-loop: interrupted\n"


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ([HostKeyError("x")], 6),
        ([KeyboardInterrupt(), VerificationError("x")], 7),
        ([VerificationError("x"), ValueError("y")], 1),
        ([BaseExceptionGroup("inner", [InterruptedByUser("x")]), KeyboardInterrupt()], 130),
        ([OutputError("x"), InterruptedByUser("y")], 130),
        ([OutputError("x"), VerificationError("y")], 7),
        ([OutputError("x")], 8),
    ],
)
def test_groups_of_errors(errors: list[BaseException], code: int, application: Callable[..., None]) -> None:
    """Of several errors the gravest is told: a bug, then a failure, then an interruption."""
    application(raising(BaseExceptionGroup("tasks", errors)))
    assert main(["watch"]) == code


def test_a_bug(
    application: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An unknown exception is one line and the name of a private file with the traceback."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    application(raising(ZeroDivisionError("oops")))
    assert main(["status"]) == 1
    (file,) = tmp_path.iterdir()
    assert capsys.readouterr().err == (
        "nixvm-loop: error: this is a bug in nixvm-loop: ZeroDivisionError: oops\n"
        f"hint: please report it with the traceback in {file}\n"
    )
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().startswith("Traceback")
    assert file.read_text().endswith("ZeroDivisionError: oops\n")


def test_a_bug_where_nothing_can_be_written(
    application: Callable[..., None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a place for the traceback it is printed."""
    monkeypatch.setattr("tempfile.tempdir", "/proc/none")
    application(raising(ZeroDivisionError("oops")))
    assert main(["status"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_verbose_shows_the_traceback_of_a_bug(
    application: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """With -v a bug's traceback is shown at once; an error that is meant for the user has none."""
    application(raising(ZeroDivisionError("oops")))
    assert main(["rebuild", "-v"]) == 1
    assert "Traceback" in capsys.readouterr().err
    application(raising(BuildError("no")))
    assert main(["rebuild", "-v"]) == 3
    assert capsys.readouterr().err == "nixvm-loop: error: no\n"


@pytest.mark.parametrize(("options", "shown"), [([], ""), (["-v"], "some.library: WARNING: a�b\n")])
def test_warnings_of_libraries(
    options: list[str], shown: str, application: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Logged warnings are shown with -v alone, without control characters."""

    def run(_arguments: Arguments) -> int:
        logging.getLogger("some.library").warning("a%sb", "\x07")
        logging.getLogger("some.library").info("not this")
        return 0

    application(run)
    assert main(["status", *options]) == 0
    assert capsys.readouterr().err == shown


def nixvm(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "nixvm_loop", *arguments]


def test_a_mistyped_call_is_exit_2() -> None:
    """The whole program, run as users run it, exits 2 and keeps stdout clean."""
    done = subprocess.run(nixvm("rebild"), cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "invalid choice" in done.stderr


def test_a_reader_that_has_gone() -> None:
    """A closed pipe ends the program without a word."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(nixvm("--help"), cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (130, b"")


def test_no_stdout_at_all() -> None:
    """A closed stdout is no bug."""
    command = f"exec {' '.join(nixvm('--version'))} >&-"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr


def test_help_is_quick() -> None:
    """--help takes at most six times as long as a Python that does nothing, and loads no heavy library."""
    ratio = min(quickest(nixvm("--help")) / quickest([sys.executable, "-c", "pass"]) for _ in range(2))
    assert ratio <= 6
    code = "import sys; from nixvm_loop import cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {
        "asyncio",
        "asyncssh",
        "libvirt",
        "lxml",
        "pydantic",
        "rich",
        "watchfiles",
        "logging",
        "subprocess",
        "tomllib",
    }
    assert not heavy & set(done.stdout.split())


def quickest(command: list[str]) -> float:
    times = []
    for _ in range(5):
        started = time.monotonic()
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        times.append(time.monotonic() - started)
    return min(times)


def test_a_background_job_can_be_interrupted() -> None:
    """A script's background job starts with SIGINT ignored; ours, and its children, listen to it all the same."""
    code = "import signal; from nixvm_loop.cli import main; main(['--version']); print(signal.getsignal(signal.SIGINT))"

    def ignore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=ignore,  # one thread
    )
    assert "default_int_handler" in done.stdout
