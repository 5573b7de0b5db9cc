from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from nixvm_loop.arguments import Arguments, Command, Words
from nixvm_loop.commands import completions
from nixvm_loop.errors import UsageError
from nixvm_loop.present.choice import Output
from tests.checkout import PYTHONPATH
from tests.commands.shells import in_bash, in_fish, in_zsh

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

shtab = pytest.importorskip("shtab")

CONFIG = '[guests.demo]\nstate_dir = "state"\n[guests.web]\n[guests."my.host"]\n'
ASK = {"bash": in_bash, "zsh": in_zsh, "fish": in_fish}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a config of three guests, the generations of one, and nixvm-loop in PATH."""
    program = tmp_path / "bin/nixvm-loop"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m nixvm_loop "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", PYTHONPATH)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NIXVM_LOOP_CONFIG", raising=False)
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "nixvm-loop.toml").write_text(CONFIG)
    for number in (2, 12, 7):
        (folder / f"state/demo/generations/{number}").mkdir(parents=True)
    return folder


@pytest.fixture(params=list(ASK))
def offered(place: Path, request: pytest.FixtureRequest) -> Callable[[str], set[str]]:
    """Asks one of the shells what it offers for the end of a line."""
    shell: str = request.param
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    if shell not in shtab.SUPPORTED_SHELLS:
        pytest.skip(f"shtab {shtab.__version__} does not know {shell}")
    script = place.parent / f"completions.{shell}"
    script.write_text(completions.script(Words(shell)))
    return lambda line: ASK[shell](script, line)


@pytest.mark.timeout(180)
def test_what_the_shells_offer(offered: Callable[[str], set[str]], place: Path) -> None:
    """Commands, options, choices, files, guests and generations are completed, each where it belongs."""
    assert {"create", "rebuild", "watch", "completions"} <= offered("nixvm-loop ")
    assert offered("nixvm-loop reb") == {"rebuild"}
    assert {"--force", "--plan", "--guest"} <= offered("nixvm-loop rebuild --")
    assert "--start" not in offered("nixvm-loop rebuild --")
    assert offered("nixvm-loop rebuild --output ") == {"auto", "live", "plain", "json"}
    assert offered("nixvm-loop completions ") == {"bash", "zsh", "fish"}
    assert offered("nixvm-loop rebuild -g ") == {"demo", "web", "my.host"}
    assert offered("nixvm-loop rebuild --guest my") == {"my.host"}
    assert offered("nixvm-loop rollback -g demo ") == {"2", "7", "12"}
    assert offered("nixvm-loop diff -g demo 2 ") == {"2", "7", "12"}
    (place.parent / "other.toml").write_text('[guests.box]\nstate_dir = "project/state"\n')
    assert "../other.toml" in {f"../{word.removeprefix('../')}" for word in offered("nixvm-loop status -c ../oth")}
    assert offered("nixvm-loop status -c ../other.toml -g ") == {"box"}


@pytest.mark.timeout(90)
def test_nothing_to_complete(offered: Callable[[str], set[str]], place: Path) -> None:
    """Without a config, or with a broken one, nothing is offered, and nothing is said into the prompt."""
    (place / "nixvm-loop.toml").write_text("[guests.demo\n")
    assert offered("nixvm-loop rebuild -g ") == set()
    (place / "nixvm-loop.toml").unlink()
    assert offered("nixvm-loop rollback -g demo ") == set()


def words(*arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(["nixvm-loop", "completions", *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.usefixtures("place")
def test_words() -> None:
    """Guests are told in the config's order, generations the newest first; for a guest that is not known, none are."""
    assert words("guests") == (0, "demo\nweb\nmy.host\n", "")
    assert words("generations", "-g", "demo") == (0, "12\n7\n2\n", "")
    assert words("generations", "-g", "web") == (0, "", "")
    assert words("generations", "-g", "nobody") == (0, "", "")
    assert words("guests", "-c", "nowhere.toml") == (0, "", "")


def hypervisor(folder: Path, *names: str) -> str:
    """The URI of a libvirt with these domains."""
    domain = "<domain type='test'><name>{}</name><memory>65536</memory><os><type>hvm</type></os></domain>"
    (folder / "node.xml").write_text(f"<node>{''.join(map(domain.format, names))}</node>")
    return f"test://{folder}/node.xml"


@pytest.mark.timeout(180)
def test_domains_in_the_shells(offered: Callable[[str], set[str]], place: Path) -> None:
    """`adopt` is completed with libvirt's domains."""
    uri = hypervisor(place, "web", "mail", "db")
    (place / "nixvm-loop.toml").write_text(f'[guests.demo]\nlibvirt_uri = "{uri}"\n')
    assert offered("nixvm-loop adopt ") == {"web", "mail", "db"}
    assert offered("nixvm-loop adopt -g demo ma") == {"mail"}


def test_domains(place: Path) -> None:
    """Sorted, without those that `create` makes and those that a shell would not take for a word."""
    uri = hypervisor(place, "web", "mail", "made", "my vm", "$(reboot)", "a;b", "-x")
    config = f'[guests.demo]\nlibvirt_uri = "{uri}"\n[guests.made]\nlibvirt_uri = "{uri}"\n[guests.made.machine]\n'
    (place / "nixvm-loop.toml").write_text(config)
    assert words("domains") == (0, "mail\nweb\n", "")
    assert words("domains", "-g", "demo") == (0, "mail\nweb\n", "")
    assert words("domains", "-g", "nobody") == (0, "", "")
    (place / "nixvm-loop.toml").unlink()
    assert words("domains") == (0, "", "")


def test_a_libvirt_that_is_away(place: Path) -> None:
    """Nothing is offered and nothing said: where it is not there, and, after a second, where it does not answer."""
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(place / "s"))
        silent.listen()
        for sock in ("none", "s"):
            (place / "nixvm-loop.toml").write_text(
                f'[guests.demo]\nlibvirt_uri = "qemu+unix:///system?socket={place}/{sock}"\n'
            )
            started = time.monotonic()
            assert words("domains") == (0, "", "")
            assert time.monotonic() - started < 10


@pytest.mark.usefixtures("place")
def test_words_are_quick() -> None:
    """A tab waits at most five times as long as --help takes, which is 0.2 s more where that takes 0.05 s."""
    ratio = min(quickest("completions", "generations", "-g", "demo") / quickest("--help") for _ in range(2))
    assert ratio <= 5


def quickest(*arguments: str) -> float:
    times = []
    for _ in range(5):
        started = time.monotonic()
        subprocess.run(["nixvm-loop", *arguments], stdout=subprocess.DEVNULL, check=True)
        times.append(time.monotonic() - started)
    return min(times)


def test_a_library_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell that the installed shtab does not know is told with what to install."""
    monkeypatch.setattr("shtab.SUPPORTED_SHELLS", ["bash", "zsh"])
    with pytest.raises(UsageError, match="knows only bash, zsh"):
        completions.script(Words.FISH)


def test_a_library_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without shtab the words are still told, and the script is refused."""
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(UsageError, match=r"shtab.*missing"):
        completions.script(Words.BASH)


def test_no_json() -> None:
    """A script is not passed off as a stream of events."""
    with pytest.raises(UsageError, match="not JSON"):
        completions.run(Arguments(command=Command.COMPLETIONS, words=Words.BASH, output=Output.JSON))
