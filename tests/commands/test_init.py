"""`init` with real nix, and with libvirt's own test driver where it asks libvirt."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nixvm_loop import config
from nixvm_loop.cli import main
from nixvm_loop.domain import Connection
from tests.checkout import PYTHONPATH
from tests.nix.flakes import ENDLESS, flake_in, git

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("real_nix", "hypervisor")

DOMAIN = (
    """<domain type='test'><name>{name}</name>{owner}<memory>65536</memory><os><type>hvm</type>{boot}</os></domain>"""
)
OWNER = "<metadata><g:guest xmlns:g='urn:nixvm-loop:domain:1' name='demo' state='{}'/></metadata>"
KERNEL = "<kernel>/k</kernel><initrd>/i</initrd>"
DISK = "<boot dev='hd'/>"
TWO = '{ demo = throw "no"; web = throw "no"; }'


@pytest.fixture
def hypervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """In the place of qemu:///system stands a hypervisor of this test's own, which can be given a domain."""
    opened = Connection.open
    node = tmp_path / "node.xml"

    def has(name: str, *, owner: str = "", boot: str = DISK) -> None:
        node.write_text(f"<node>{DOMAIN.format(name=name, owner=owner, boot=boot)}</node>")

    async def instead(uri: str) -> Connection:
        assert uri == "qemu:///system"
        return await opened(f"test://{node}")

    has("someone")
    monkeypatch.setattr(Connection, "open", instead)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("NIXVM_LOOP_CONFIG", raising=False)
    return has


@pytest.fixture
def flake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Makes a flake of what its nixosConfigurations are, and goes there."""

    def make(configurations: str) -> Path:
        folder = flake_in(tmp_path / "project", configurations)
        monkeypatch.chdir(folder)
        return folder

    return make


def said(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert out == ""
    return err


def test_one_configuration(flake: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is asked: the file is written, configures the one guest with a machine, and the next step is said."""
    folder = flake('{ demo = throw "no"; }')
    assert main(["init"]) == 0
    guest = config.load(folder / "nixvm-loop.toml").guests["demo"]
    assert (guest.flake_dir, guest.attribute, guest.domain) == (folder, "nixosConfigurations.demo", "demo")
    assert guest.machine is not None
    assert said(capsys) == (
        "  info: wrote nixvm-loop.toml: guest demo is nixosConfigurations.demo\n"
        "    hint: nixvm-loop create --start defines its domain and boots it\n"
    )
    assert sorted(entry.name for entry in folder.iterdir()) == ["flake.nix", "nixvm-loop.toml"]


def test_below_the_flake_in_git(flake: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The flake is found above, up to the top of its checkout, where the file goes, tracked or not."""
    folder = flake("{ demo = 1; }")
    git(folder, "init", "-q")
    git(folder, "add", "flake.nix")
    (folder / "hosts/demo").mkdir(parents=True)
    monkeypatch.chdir(folder / "hosts/demo")
    assert main(["init"]) == 0
    assert (folder / "nixvm-loop.toml").is_file()


def test_no_flake(
    flake: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A flake above the checkout is not this one's; what is missing is said."""
    inner = flake("{ demo = 1; }") / "checkout"
    inner.mkdir()
    git(inner, "init", "-q")
    monkeypatch.chdir(inner)
    assert main(["init"]) == 2
    assert f"there is no flake.nix in {inner} or above" in said(capsys)
    assert main(["init", "--flake", "./nowhere"]) == 2
    assert f"there is no flake.nix in {inner}/nowhere" in said(capsys)


def test_several_and_nobody_to_ask(flake: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal they are listed, with the way to choose; the chosen one is written."""
    folder = flake(TWO)
    assert main(["init"]) == 2
    assert said(capsys).endswith(
        "has 2 configurations, and there is nobody to ask\nhint: choose one with --guest: demo, web\n"
    )
    assert main(["init", "-g", "wep"]) == 2
    err = said(capsys)
    assert "has no nixosConfigurations.wep" in err
    assert "did you mean web? there are: demo, web" in err
    assert not (folder / "nixvm-loop.toml").exists()
    assert main(["init", "-g", "web"]) == 0
    assert list(config.load(folder / "nixvm-loop.toml").guests) == ["web"]


def test_a_guest_of_another_name(flake: Callable[[str], Path]) -> None:
    """--attribute says which configuration, and --guest what it is called here."""
    folder = flake(TWO)
    assert main(["init", "--attribute", "nixosConfigurations.web", "-g", "box"]) == 0
    assert config.load(folder / "nixvm-loop.toml").guests["box"].attribute == "nixosConfigurations.web"


@pytest.mark.parametrize(("name", "guest"), [("my.host", "my.host"), ("a b", "a-b"), ("-x", "x")])
def test_odd_names(name: str, guest: str, flake: Callable[[str], Path]) -> None:
    """What cannot be a guest's name is written as the attribute that it is, and read back as that."""
    folder = flake(f'{{ "{name}" = 1; "\\${{x}}" = 1; }}')
    assert main(["init"]) == 0
    assert config.load(folder / "nixvm-loop.toml").guests[guest].attribute.strip('"').endswith(name)


def test_names_that_no_config_can_hold(flake: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """They are told as such, and nothing of them reaches the terminal raw."""
    flake('{ "a#b" = 1; "\\${x}" = 1; "c\\nd" = 1; }')
    assert main(["init"]) == 3
    assert "has a name that can be written in the config: ${x}, a#b, c d" in said(capsys)


def test_a_flake_elsewhere(
    flake: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file goes beside the flake, or where --config says; the next step names it; the flake is found from there."""
    folder = flake("{ demo = 1; }")
    monkeypatch.chdir(tmp_path)
    assert main(["init", "--flake", "./project"]) == 0
    assert "nixvm-loop create --start -c project/nixvm-loop.toml" in said(capsys)
    for file, written in (("x.toml", "./project"), ("project/sub/x.toml", ".."), ("etc/x.toml", str(folder))):
        Path(file).parent.mkdir(exist_ok=True)
        assert main(["init", "--flake", "./project", "-c", file]) == 0
        assert f'\nflake = "{written}"\n' in Path(file).read_text()
        assert config.load(Path(file)).guests["demo"].flake_dir == folder


def test_nothing_is_overwritten(flake: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """What is there already stays, whatever it is, and is told of."""
    file = flake("{ demo = 1; }") / "nixvm-loop.toml"
    for text, told in (
        ("[guests.a]\n[guests.b]\n", "is there already and configures a, b; nothing was changed"),
        ("nonsense", "is there already and has problems, which `nixvm-loop status` tells; nothing was changed"),
    ):
        file.write_text(text)
        assert main(["init"]) == 2
        assert told in said(capsys)
        assert file.read_text() == text
    file.unlink()
    file.symlink_to("nowhere")
    assert main(["init"]) == 2
    assert "is there already, a link to nowhere" in said(capsys)
    assert not (file.parent / "nowhere").exists()


def test_a_folder_that_cannot_be_written(flake: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """The reason is told with the file."""
    flake("{ demo = 1; }")
    assert main(["init", "-c", "/proc/nixvm-loop.toml"]) == 2
    assert "/proc/nixvm-loop.toml cannot be written: " in said(capsys)


@pytest.mark.parametrize(
    ("boot", "step"), [(DISK, "nixvm-loop adopt demo puts"), (KERNEL, "nixvm-loop rebuild builds")]
)
def test_a_domain_of_the_users_own(
    boot: str,
    step: str,
    flake: Callable[[str], Path],
    hypervisor: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is said to be there, and the file claims no machine."""
    folder = flake("{ demo = 1; }")
    hypervisor("demo", boot=boot)
    assert main(["init"]) == 0
    err = said(capsys)
    assert "libvirt has a domain demo already, so [guests.demo.machine] is left out" in err
    assert step in err
    assert config.load(folder / "nixvm-loop.toml").guests["demo"].machine is None


def test_a_domain_that_create_made(
    flake: Callable[[str], Path], hypervisor: Callable[..., None], tmp_path: Path
) -> None:
    """Where only the config was lost, the domain is still nixvm-loop's."""
    folder = flake("{ demo = 1; }")
    hypervisor("demo", owner=OWNER.format(tmp_path / "state/nixvm-loop/demo"))
    assert main(["init"]) == 0
    assert config.load(folder / "nixvm-loop.toml").guests["demo"].machine is not None


def test_libvirt_cannot_be_asked(
    flake: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is written all the same, and what is not known is said."""
    folder = flake("{ demo = 1; }")
    (tmp_path / "node.xml").unlink()
    assert main(["init"]) == 0
    err = said(capsys)
    assert "warning: whether there is a domain demo is not known: " in err
    assert "remove [guests.demo.machine]" in err
    assert config.load(folder / "nixvm-loop.toml").guests["demo"].machine is not None


def test_json(flake: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """With -o json what is said is events, each of the guest."""
    flake("{ demo = 1; }")
    assert main(["init", "-o", "json"]) == 0
    (event,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (event["type"], event["guest"], event["severity"]) == ("notice", "demo", "info")


@pytest.mark.parametrize(
    ("configurations", "code", "told"),
    [
        ("{ demo = ; }", 3, "/flake.nix:2:32: syntax error"),
        ("{ }", 3, " has no nixosConfigurations\n"),
        ("throw ''stop here''", 3, "stop here"),
    ],
)
def test_flakes_that_will_not_do(
    configurations: str, code: int, told: str, flake: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong with the flake is told with its place, and nothing is written."""
    folder = flake(configurations)
    assert main(["init"]) == code
    assert told in said(capsys)
    assert not (folder / "nixvm-loop.toml").exists()


def test_nix_is_missing(
    flake: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without nix the error says what to install, and nothing is written."""
    folder = flake("{ demo = 1; }")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["init"]) == 3
    assert "nix is not installed, or not on PATH\nhint: install Nix" in said(capsys)
    assert not (folder / "nixvm-loop.toml").exists()


def test_interrupted_while_nix_evaluates(flake: Callable[[str], Path]) -> None:
    """Ctrl-C ends the wait with 130; neither a file nor nix is left."""
    folder = flake(ENDLESS)
    process = subprocess.Popen(
        [sys.executable, "-m", "nixvm_loop", "init"],
        env={**os.environ, "PYTHONPATH": PYTHONPATH}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 20
    while not evaluating(folder):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, "", "nixvm-loop: interrupted by SIGINT\n")
    assert not evaluating(folder)
    assert not (folder / "nixvm-loop.toml").exists()


def evaluating(folder: Path) -> bool:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder and (process / "comm").read_text() == "nix\n":
                return True
        except OSError:
            continue
    return False


@pytest.mark.parametrize(
    ("typed", "code", "written"),
    [("2\n", 0, "web"), ("demo\n", 0, "demo"), ("9\nx\n1\n", 0, "demo"), ("\x04", 2, None), ("\x03", 130, None)],
)
def test_the_question(typed: str, code: int, written: str | None, flake: Callable[[str], Path]) -> None:
    """On a terminal the configurations are numbered; a number or a name chooses, Ctrl-D and Ctrl-C change nothing."""
    folder = flake(TWO)
    terminal, far_end = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-m", "nixvm_loop", "init"],
        env={**os.environ, "PYTHONPATH": PYTHONPATH, "TERM": "xterm"}, stdin=far_end, stdout=far_end, stderr=far_end,
    )  # fmt: skip
    os.close(far_end)
    shown = read_until(terminal, b"] ")
    assert b"  1  demo\r\n  2  web\r\nWhich configuration? [1-2] " in shown
    os.write(terminal, typed.encode())
    read_until(terminal, None)
    os.close(terminal)
    assert process.wait(20) == code
    file = folder / "nixvm-loop.toml"
    assert (list(config.load(file).guests) if file.exists() else [None]) == [written]


def read_until(terminal: int, end: bytes | None) -> bytes:
    """What is shown up to `end`, or up to the end of the program."""
    shown, deadline = b"", time.monotonic() + 20
    while end is None or not shown.endswith(end):
        assert time.monotonic() < deadline, shown
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                shown += os.read(terminal, 4096)
            except OSError:
                break
    return shown
