"""Real nix is asked what a flake has."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nixvm_loop.errors import BuildError
from nixvm_loop.nix import names_in
from tests.nix.flakes import ENDLESS, flake_in, git, guest_of

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("real_nix")


@pytest.fixture
def flake(tmp_path: Path) -> Callable[..., Path]:
    """Makes a flake, in a folder without git, of what its nixosConfigurations are."""

    def make(configurations: str, *, output: str = "nixosConfigurations") -> Path:
        return flake_in(tmp_path / "flake", configurations, output=output)

    return make


async def test_names_alone_are_evaluated(flake: Callable[..., Path]) -> None:
    """The systems may be as broken as they like; odd names come as they are, sorted."""
    folder = flake('{ demo = throw "no"; "my.host" = 1; "a b" = abort "no"; "ä\\"" = 1; }')
    assert await names_in(guest_of(folder), "nixosConfigurations") == ("a b", "demo", "my.host", 'ä"')
    assert not (folder / "flake.lock").exists()


async def test_nested_sets(flake: Callable[..., Path]) -> None:
    """Any set of the flake can be asked for."""
    folder = flake('{ "x.y" = { demo = 1; }; }', output="legacyPackages")
    assert await names_in(guest_of(folder), 'legacyPackages."x.y"') == ("demo",)


async def test_a_flake_without_configurations(flake: Callable[..., Path]) -> None:
    """Where there are none, none are told."""
    assert await names_in(guest_of(flake("{ }", output="packages")), "nixosConfigurations") == ()


async def test_a_syntax_error(flake: Callable[..., Path]) -> None:
    """The place in the user's own file is told."""
    folder = flake("{ demo = ; }")
    with pytest.raises(BuildError) as caught:
        await names_in(guest_of(folder), "nixosConfigurations")
    assert caught.value.message.startswith(f"{folder}/flake.nix:2:32: syntax error")


async def test_a_flake_that_git_does_not_know(flake: Callable[..., Path]) -> None:
    """An untracked flake.nix is told with the command that mends it."""
    folder = flake("{ demo = 1; }")
    git(folder, "init", "-q")
    with pytest.raises(BuildError, match=r"flake\.nix is not tracked by git") as caught:
        await names_in(guest_of(folder), "nixosConfigurations")
    assert "add -N flake.nix" in str(caught.value.hint)


async def test_a_flake_that_takes_too_long(flake: Callable[..., Path]) -> None:
    """The wait is bounded, and nix is gone at its end."""
    folder = flake(ENDLESS)
    with pytest.raises(BuildError, match=r"did not tell within 0\.5s"):
        await names_in(guest_of(folder), "nixosConfigurations", timeout_s=0.5)
    assert not evaluating(folder)


async def test_cancelled(flake: Callable[..., Path]) -> None:
    """Whoever asks no more leaves nothing behind."""
    folder = flake(ENDLESS)
    asking = asyncio.create_task(names_in(guest_of(folder), "nixosConfigurations"))
    deadline = time.monotonic() + 10
    while not evaluating(folder):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not evaluating(folder)


async def test_nix_is_missing(flake: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without nix the error says what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match="nix is not installed") as caught:
        await names_in(guest_of(flake("{ }")), "nixosConfigurations")
    assert "install Nix" in str(caught.value.hint)


def evaluating(folder: Path) -> bool:
    """Whether a nix runs in the folder."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder and (process / "comm").read_text() == "nix\n":
                return True
        except OSError:
            continue
    return False
