"""What is wrong before anything may happen to the guest: config, flake, Nix. A running guest never notices."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.lab import Lab


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Iterator[Lab]:
    """A running guest of a user who builds through the daemon."""
    made = make_lab(as_user=True)
    assert made.loop("create", "--start").returncode == 0
    yield made
    made.remove()


@pytest.fixture(autouse=True)
def _untouched(lab: Lab) -> Iterator[None]:
    """Whatever a test does, the guest goes on in the same boot and nothing is left running."""
    before = lab.boot_id()
    yield
    assert lab.boot_id() == before
    assert lab.strays() == []


def test_every_mistake_in_the_config_is_told_at_once(lab: Lab) -> None:
    """An unknown key, a wrong type, a missing unit and a bad value: one error, each with its key path and the cure."""
    with (
        lab.configured('boot_timeout = "60s"', 'boot_timeout = 60\nstopp = "force"'),
        lab.configured('memory = "512MiB"\nvcpus = 1', 'memory = "512"\nvcpus = "one"'),
    ):
        said = lab.fails(2)
    for key in ("apply.boot_timeout", "apply.stopp", "machine.memory", "machine.vcpus"):
        assert f"guests.{lab.name}.{key}" in said
    assert "did you mean" in said
    assert "nixvm-loop.toml" in said


def test_a_flake_that_is_not_there(lab: Lab) -> None:
    """A missing folder, and one without flake.nix, are exit 3 and named with the key; the slip leaves no claim."""
    elsewhere = f'state_dir = "{lab.state.parent}-other"'
    lab.run("mkdir", "-p", str(lab.folder / "empty"))
    with lab.configured(f'state_dir = "{lab.state.parent}"', elsewhere):
        with lab.configured('flake = "./guest"', 'flake = "./gone"'):
            said = lab.fails(3)
            assert str(lab.folder / "gone") in said
            assert "`flake`" in said
        with lab.configured('flake = "./guest"', 'flake = "./empty"'):
            said = lab.fails(3)
            assert f"there is no flake.nix in {lab.folder}/empty" in said
            assert "hint: `flake` must name a folder with a flake.nix" in said


def test_the_state_of_another_checkout(lab: Lab) -> None:
    """Another checkout under the same state, or another state for the same domain, is exit 2, naming the other."""
    lab.run("cp", "-a", str(lab.flake), str(lab.folder / "second"))
    with lab.configured('flake = "./guest"', 'flake = "./second"'):
        for command, *options in (("rebuild",), ("create",), ("delete", "--yes")):
            said = lab.fails(2, *options, command=command)
            assert f"its flake is {lab.flake}, not {lab.folder}/second" in said
            assert "state_dir of its own" in said
    with lab.configured(f'state_dir = "{lab.state.parent}"', f'state_dir = "{lab.state.parent}-other"'):
        for name in ("rebuild", "create"):
            said = lab.fails(2, command=name)
            assert f"domain {lab.name} belongs to guest {lab.name}, whose state is in {lab.state}" in said
        assert lab.loop("delete", "--yes").returncode == 0


def test_no_line_of_a_noisy_build_is_lost(lab: Lab) -> None:
    """Every one of 30,000 lines that come as fast as a builder writes is an event, in its order."""
    noisy = 'packages = { noisy = "seq 1 30000; echo noise >$out"; }'
    with lab.edited("configuration.nix", "packages = { }", noisy):
        planned = lab.loop("rebuild", "--plan", "-o", "json")
    assert planned.returncode == 0, planned.stderr
    events = map(json.loads, planned.stdout.splitlines())
    lines = [event["line"] for event in events if event["type"] == "build_log" and event["derivation"] is not None]
    assert lines == [str(number) for number in range(1, 30_001)]


def test_the_state_of_another_domain(lab: Lab) -> None:
    """A state directory made for a domain with another UUID is exit 2, naming both."""
    uuid = lab.virsh("domuuid", lab.name)
    file = lab.state / "guest.json"
    with lab.changed(file, uuid, "00000000-0000-4000-8000-000000000000"):
        said = lab.fails(2)
    assert f"its domain UUID is 00000000-0000-4000-8000-000000000000, not {uuid}" in said
    assert str(file) in said


def test_an_attribute_that_is_not_there(lab: Lab) -> None:
    """A misspelt attribute is exit 3, with the one that was meant."""
    with lab.configured("nixosConfigurations.demo", "nixosConfigurations.demmo"):
        said = lab.fails(3)
    assert "has no nixosConfigurations.demmo" in said
    assert "did you mean nixosConfigurations.demo?" in said


def test_a_syntax_error_and_a_type_error(lab: Lab) -> None:
    """Both are exit 3 with file:line:col of the user's own file, as a problem line on stdout."""
    file = lab.flake / "configuration.nix"
    with lab.edited("configuration.nix", "startup = ", "startup "):
        assert f"{file}:20:11: error: syntax error" in lab.fails(3)
    with lab.edited("configuration.nix", 'motd = "Hello from the mini guest."', 'motd = "a" + 1'):
        assert f"{file}:7:16: error: " in lab.fails(3)


def test_a_derivation_that_fails(lab: Lab) -> None:
    """The derivation is named, and its last words are shown."""
    failing = 'packages = { broken = "echo the last words; exit 3"; }'
    with lab.edited("configuration.nix", "packages = { }", failing):
        said = lab.fails(3)
    assert "broken" in said
    assert "the last words" in said
    assert "exit code 3" in said
    assert "nix log /nix/store/" in said


def test_an_untracked_file_is_named_with_its_cure(lab: Lab) -> None:
    """What git does not track, Nix does not see: the file and `git add -N` are named, and that works."""
    lab.write(lab.flake / "motd.nix", '"Hello from the mini guest."')
    with lab.edited("configuration.nix", '"Hello from the mini guest."', "import ./motd.nix"):
        said = lab.fails(3)
        assert "motd.nix is not tracked by git" in said
        assert f"git -C {lab.flake} add -N motd.nix" in said
        lab.run("git", "-C", str(lab.flake), "add", "-N", "motd.nix")
        assert lab.cycle()["verdict"] == "unchanged"
        lab.run("git", "-C", str(lab.flake), "rm", "-q", "-f", "motd.nix")


def test_an_untracked_file_in_watch(lab: Lab) -> None:
    """`watch` names the untracked file as well; `git add -N` alone starts the cycle that then works."""
    with lab.watch() as watch:
        watch.finished()
        lab.write(lab.flake / "motd.nix", '"Hello from the mini guest."')
        with lab.edited("configuration.nix", '"Hello from the mini guest."', "import ./motd.nix"):
            failed = watch.finished()
            assert failed["exit_code"] == 3
            assert "motd.nix is not tracked by git" in failed["error"]["message"]
            assert "add -N motd.nix" in failed["error"]["hint"]
            lab.run("git", "-C", str(lab.flake), "add", "-N", "motd.nix")
            assert watch.finished()["verdict"] == "unchanged"
        assert watch.finished()["verdict"] == "unchanged"
        lab.run("git", "-C", str(lab.flake), "rm", "-q", "-f", "motd.nix")


def test_initrd_secrets_are_refused(lab: Lab) -> None:
    """A system whose initrd is completed by a boot loader only is exit 3: its initrd would lack the secrets."""
    incomplete = 'toplevel = placeholder "out";\n      initrdSecrets = "/nix/store/append-initrd-secrets";'
    with lab.edited("system.nix", 'toplevel = placeholder "out";', incomplete):
        said = lab.fails(3)
    assert "its initrd is incomplete" in said
    assert "boot.initrd.secrets" in said


def test_nix_is_not_installed(lab: Lab) -> None:
    """Without nix on PATH it is exit 3, naming nix and where it comes from."""
    programs = lab.folder / "bin"
    programs.mkdir()
    for name in ("git", "setpriv", "nixvm-loop"):
        (programs / name).symlink_to(shutil.which(name) or name)
    said = lab.fails(3, env=(f"PATH={programs}",))
    assert "nix is not installed" in said
    assert "https://nixos.org/download" in said


def test_the_nix_daemon_does_not_run(lab: Lab) -> None:
    """A user whose nix cannot reach its daemon is told to start it."""
    said = lab.fails(3, env=("NIX_REMOTE=unix:///run/nobody-listens-here",))
    assert "nobody-listens-here" in said
    assert "start Nix's daemon" in said
