from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from nixvm_loop import __version__
from nixvm_loop.arguments import Arguments, Command, Words, parse
from nixvm_loop.present.choice import Output, Verbosity

NEEDED: dict[Command, tuple[list[str], dict[str, Any]]] = {Command.COMPLETIONS: (["zsh"], {"words": Words.ZSH})}
"""What some commands do not do without."""


@pytest.mark.parametrize("command", list(Command))
def test_a_command_alone(command: Command) -> None:
    """Every command works without options, with the defaults."""
    words, parsed = NEEDED.get(command, ([], {}))
    assert parse([command.value, *words]) == Arguments(command=command, **parsed)


@pytest.mark.parametrize("command", list(Command))
def test_common_options_follow_the_command(command: Command) -> None:
    """Every command takes the common options, short and long."""
    words, parsed = NEEDED.get(command, ([], {}))
    parsed = parsed | {"config": Path("x.toml"), "guest": "demo", "output": Output.JSON, "verbosity": Verbosity.VERBOSE}
    expected = Arguments(command=command, **parsed)
    assert parse([command.value, *words, "-c", "x.toml", "-g", "demo", "-o", "json", "-v"]) == expected
    assert parse([command.value, *words, "--config=x.toml", "--guest=demo", "--output=json", "--verbose"]) == expected


def test_options_of_commands() -> None:
    """Each command's own options arrive."""
    assert parse(["create", "--start", "--print-xml"]) == Arguments(command=Command.CREATE, start=True, print_xml=True)
    assert parse(["delete", "--yes"]) == Arguments(command=Command.DELETE, yes=True)
    assert parse(["adopt", "vm", "-y"]) == Arguments(command=Command.ADOPT, domain="vm", yes=True)
    assert parse(["release", "--while-running"]) == Arguments(command=Command.RELEASE, while_running=True)
    assert parse(["diff", "3"]) == Arguments(command=Command.DIFF, generations=(3,))
    assert parse(["diff", "3", "12"]) == Arguments(command=Command.DIFF, generations=(3, 12))
    typed = ["init", "--flake", "./machines", "--attribute", "nixosConfigurations.web"]
    expected = Arguments(command=Command.INIT, flake="./machines", attribute="nixosConfigurations.web")
    assert parse(typed) == expected
    assert parse(["rebuild", "--force"]) == Arguments(command=Command.REBUILD, force=True)


@pytest.mark.parametrize(
    ("typed", "remote"),
    [
        ("ssh -g demo uname -r", ("uname", "-r")),
        ("ssh -g demo -- uname -r", ("uname", "-r")),
        ("ssh -g demo -- -c x", ("-c", "x")),
        ("ssh -g demo ls --help -g other -- -v", ("ls", "--help", "-g", "other", "--", "-v")),
        ("ssh -g demo -- -- x", ("--", "x")),
        ("ssh -g demo --", ()),
        ("ssh -g demo", ()),
    ],
)
def test_the_guests_command(typed: str, remote: tuple[str, ...]) -> None:
    """What follows ssh's options goes to the guest as it is; `--` ends the options and does not go with it."""
    assert parse(typed.split()) == Arguments(command=Command.SSH, guest="demo", remote=remote)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("", "the following arguments are required: COMMAND"),
        ("rebild", "invalid choice: 'rebild'"),
        ("rebuild --forc", "unrecognized arguments: --forc"),
        ("rebuild --start", "unrecognized arguments: --start"),
        ("-g demo rebuild", "invalid choice: 'demo'"),
        ("rebuild -o xml", "invalid choice: 'xml'"),
        ("status extra", "unrecognized arguments: extra"),
        ("diff one", "'one' is not the number of a generation"),
        ("diff 0", "'0' is not the number of a generation"),
        ("diff 1 -2", "'-2' is not the number of a generation"),
        ("completions", "the following arguments are required: SHELL"),
        ("completions csh", "invalid choice: 'csh'"),
        ("diff 1 2 3", "unrecognized arguments: 3"),
    ],
)
def test_calls_that_cannot_be_carried_out(typed: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped call exits 2, with the reason on stderr and nothing on stdout."""
    with pytest.raises(SystemExit) as caught:
        parse(typed.split())
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert "nixvm-loop" in err


@pytest.mark.parametrize("command", list(Command))
def test_help(command: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command has a help with a sentence and its options; none is longer than a terminal is wide."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as caught:
        parse([command.value, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert f"usage: nixvm-loop {command}" in text
    assert "--guest NAME" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_the_first_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """The help names every command and the exit codes."""
    with pytest.raises(SystemExit):
        parse(["--help"])
    text = capsys.readouterr().out
    assert all(re.search(rf"\n    {command}\s", text) for command in Command)
    assert "exit codes: 0 ok" in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the version and exits 0."""
    with pytest.raises(SystemExit) as caught:
        parse(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"nixvm-loop {__version__}\n"
