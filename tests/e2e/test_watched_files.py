"""What `watch` follows on a real guest: git's index, new and moved folders, local inputs, many files at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.lab import Lab

MANY = 1000


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Iterator[Lab]:
    """A running guest of a user's, whose flake has a `path:` input with the guest's greeting."""
    made = make_lab(as_user=True)
    made.run("mkdir", str(made.folder / "greeting"))
    made.write(made.folder / "greeting/flake.nix", "{ outputs = _: { text = import ./text.nix; }; }")
    made.write(made.folder / "greeting/text.nix", '"one"')
    made.edit(
        "flake.nix",
        "outputs = { self }:",
        f'inputs.greeting.url = "path:{made.folder}/greeting";\n\n  outputs = {{ self, greeting }}:',
    )
    made.edit("flake.nix", "import ./configuration.nix;", "import ./configuration.nix // { motd = greeting.text; };")
    locked = made.run("nix", "flake", "lock", str(made.flake))
    assert locked.returncode == 0, locked.stderr
    made.run("git", "-C", str(made.flake), "add", "--all")
    started = made.loop("create", "--start")
    assert started.returncode == 0, started.stderr
    yield made
    made.remove()


@pytest.fixture(autouse=True)
def _nothing_left(lab: Lab) -> Iterator[None]:
    yield
    assert lab.strays() == []


def test_a_changed_local_input_is_really_used(lab: Lab) -> None:
    """A save in the `path:` input starts a cycle, and the guest gets it although the lock holds the old one."""
    assert lab.guest("cat /etc/motd") == "one"
    with lab.watch() as watch:
        watch.finished()
        lab.write(lab.folder / "greeting/text.nix", '"two"')
        assert watch.finished()["verdict"] == "ok"
    assert lab.guest("cat /etc/motd") == "two"


def test_a_new_nested_folder(lab: Lab) -> None:
    """Files in new folders count from `git add` on; the edit that uses them and the add are cycles that end well."""
    deep = lab.flake / "new/deeper"
    with lab.watch() as watch:
        watch.finished()
        lab.run("mkdir", "-p", str(deep))
        lab.write(deep / "etc.nix", '{ deep = "found"; }')
        lab.run("git", "-C", str(lab.flake), "add", "-N", "new/deeper/etc.nix")
        assert watch.finished()["verdict"] == "unchanged"
        lab.edit("configuration.nix", "etc = { };", "etc = import ./new/deeper/etc.nix;")
        assert watch.finished("ok")["exit_code"] == 0
        assert lab.guest("cat /etc/deep") == "found"
        lab.write(deep / "etc.nix", '{ deep = "changed"; }')
        assert watch.finished()["verdict"] == "ok"
        assert lab.guest("cat /etc/deep") == "changed"


def test_a_checkout_that_goes_and_comes_back(lab: Lab) -> None:
    """Moved away and back, or deleted and made anew, the checkout goes on being watched."""
    away, anew = lab.folder / "away", lab.folder / "anew"
    with lab.watch() as watch:
        watch.finished()
        lab.run("mv", str(lab.flake), str(away))
        lab.run("sleep", "1")
        lab.run("mv", str(away), str(lab.flake))
        lab.edit("new/deeper/etc.nix", "changed", "moved")
        assert watch.finished("ok")["exit_code"] == 0
        assert lab.guest("cat /etc/deep") == "moved"
        lab.run("cp", "-a", str(lab.flake), str(anew))
        lab.run("rm", "-rf", str(lab.flake))
        lab.run("sleep", "1")
        lab.run("mv", str(anew), str(lab.flake))
        lab.edit("new/deeper/etc.nix", "moved", "made anew")
        assert watch.finished("ok")["exit_code"] == 0
        assert lab.guest("cat /etc/deep") == "made anew"


def test_many_files_are_one_cycle(lab: Lab) -> None:
    """A thousand files at once, as a checkout writes them, are one change set and one cycle."""
    script = 'mkdir -p many; for n in $(seq "$1"); do echo "{ }" >many/$n.nix; done; git add many'
    with lab.watch() as watch:
        watch.finished()
        lab.run("sh", "-c", f'cd "$2" && {script}', "sh", str(MANY), str(lab.flake))
        watch.finished()
        before = len(watch.events)
        lab.edit("new/deeper/etc.nix", "made anew", "the end")
        assert watch.finished()["verdict"] == "ok"
    seen = [event for event in watch.events if event["type"] == "changes_seen"]
    assert len(seen) == 2, [len(event["paths"]) for event in seen]
    assert len(seen[0]["paths"]) >= MANY
    assert [event["type"] for event in watch.events[before:]].count("cycle_finished") == 1
