"""`history` and `diff` on real state directories, with libvirt's own test driver as the hypervisor."""

from __future__ import annotations

import json
import shutil
import time
from typing import TYPE_CHECKING, Any

import pytest

from nixvm_loop.cli import main
from nixvm_loop.generation.store import Generations
from nixvm_loop.model.values import Artifacts, Generation

if TYPE_CHECKING:
    from pathlib import Path

NODE = """<node><domain type='test'><name>{name}</name><memory>65536</memory>
  <os><type>hvm</type><boot dev='hd'/></os></domain></node>"""
SEEN = (
    '{{"time": "2026-11-23T08:00:00+00:00", "boot_id": "b", "booted_system": "{system}", "current_system": null, '
    '"store_used_bytes": null, "store_size_bytes": null, "store_used_inodes": null, "store_inodes": null}}'
)


class Desk:
    """A config, a state directory, and a hypervisor with one running domain."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.generations = Generations(folder / "state" / "demo")
        self.hypervisor("another")

    def hypervisor(self, domain: str, address: str = "127.0.0.1", port: int = 1) -> None:
        """One that has this domain running; the guest is said to be at an address."""
        (self.folder / "node.xml").write_text(NODE.format(name=domain))
        self.config(f"test://{self.folder}/node.xml", f'[guests.demo.ssh]\nhost = "{address}"\nport = {port}\n')

    def config(self, uri: str, more: str = "") -> None:
        (self.folder / "nixvm-loop.toml").write_text(
            f'[guests.demo]\nflake = "."\nlibvirt_uri = "{uri}"\nstate_dir = "{self.folder}/state"\n{more}'
        )

    def add(self, cmdline: str = "quiet", **about: Any) -> Generation:
        """A generation whose system is in a folder that stands for the store."""
        self.generations.prepare()
        slot = self.generations.slot()
        top = self.folder / "store" / f"system-{slot.number}"
        (top / "etc").mkdir(parents=True)
        for name in ("kernel", "initrd", "init", "etc/motd"):
            (top / name).write_text(f"{name} {slot.number}")
        slot.root.symlink_to(top)
        built = Artifacts(top, top / "kernel", top / "initrd", (cmdline,), "label")
        return self.generations.write(slot, built, cmdline, {"verdict": "ok", **about})

    def run(self, *arguments: str) -> int:
        return main([*arguments, "-c", str(self.folder / "nixvm-loop.toml")])

    def history(self, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
        assert self.run("history", "-o", "json") == 0
        out, err = capsys.readouterr()
        assert err == ""
        said: dict[str, Any] = json.loads(out)
        return said


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_before_the_first_cycle(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is there, nothing is made, and that is no failure; there is nothing to compare, which is exit 4."""
    assert desk.run("history") == 0
    assert capsys.readouterr().out == "no generation yet\nbooted: nothing; domain demo is not defined\n"
    assert desk.run("diff") == 4
    assert "there is no generation yet: nothing to compare" in capsys.readouterr().err
    assert not (desk.folder / "state").exists()


def test_a_guest_that_is_off_has_booted_nothing(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """What was seen once is not told as booted when libvirt knows that nothing runs."""
    only = desk.add()
    desk.generations.flip(only)
    (desk.generations.state_dir / "seen.json").write_text(SEEN.format(system=only.toplevel))
    said = desk.history(capsys)
    assert (said["type"], said["guest"], said["built"], said["current"], said["last_good"]) == (
        "history",
        "demo",
        1,
        1,
        1,
    )
    assert (said["booted"], said["booted_system"], said["booted_source"]) == (None, None, "libvirt")
    assert said["generations"][0]["booted"] is False


def test_a_guest_that_does_not_answer_is_as_last_seen(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Within a few seconds memory has to do: it says so, why, and how old it is."""
    only = desk.add()
    (desk.generations.state_dir / "seen.json").write_text(SEEN.format(system=only.toplevel))
    desk.hypervisor("demo", "192.0.2.1", 22)  # an address from which no packet ever comes back
    (desk.generations.state_dir / "ssh").mkdir()
    started = time.monotonic()
    assert "no key for the guest yet" in desk.history(capsys)["booted_problem"]
    from nixvm_loop.guest import ensure_key  # noqa: PLC0415  # slow to import

    ensure_key(desk.generations.state_dir / "ssh")
    said = desk.history(capsys)
    assert time.monotonic() - started < 8
    assert (said["booted"], said["booted_system"], said["booted_source"]) == (1, str(only.toplevel), "last_seen")
    assert said["booted_age_seconds"] > 0
    assert "did not answer" in said["booted_problem"]


def test_without_libvirt(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """A libvirt that cannot be asked is part of the report; without memory, what is booted is unknown."""
    desk.config(f"test://{desk.folder}/not-there.xml")
    desk.add()
    said = desk.history(capsys)
    assert (said["booted"], said["booted_source"]) == (None, None)
    assert "not-there.xml" in said["booted_problem"]


def test_damage_is_listed_with_exit_0(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Named are each damaged generation, what does not belong there, and a `current` that dangles."""
    made = [desk.add() for _ in range(4)]
    desk.generations.flip(made[3])
    (made[0].directory / "kernel").unlink()
    (made[1].directory / "generation.json").write_text("{")
    shutil.rmtree(made[2].toplevel)
    desk.generations.discard(4)
    (desk.generations.folder / "notes.txt").touch()
    assert desk.run("history") == 0
    out = capsys.readouterr().out
    assert "damaged: its kernel is missing" in out
    assert "generation.json is not JSON" in out
    assert f"damaged: gone from the store: {made[2].toplevel}" in out
    assert "notes.txt is not a generation's folder; it is left alone" in out
    assert "current names generation 4, which is not there" in out
    said = desk.history(capsys)
    assert [one["number"] for one in said["generations"]] == [3, 2, 1]
    assert (said["built"], said["current"], said["last_good"]) == (3, 4, None)


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("3", "9"), "there is no generation 9", "nixvm-loop history lists"),
        (("1", "3"), "generation 1 cannot be read: its kernel is missing", "nixvm-loop history lists"),
        (("2", "3"), "generation 2 cannot be compared: {0}/store/system-2 is gone from the store", "deleted by force"),
        (("3",), "no generation is current yet", "nixvm-loop history lists"),
    ],
)
def test_what_cannot_be_compared(
    desk: Desk, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str, hint: str
) -> None:
    """A generation that is missing, damaged or gone from the store is exit 4, with its name and what to do."""
    made = [desk.add() for _ in range(3)]
    (made[0].directory / "kernel").unlink()
    shutil.rmtree(made[1].toplevel)
    assert desk.run("diff", *arguments) == 4
    err = capsys.readouterr().err
    assert f"nixvm-loop: error: {message.format(desk.folder)}" in err
    assert hint in err.rpartition("hint: ")[2]


def test_the_usual_diff_does_not_pass_over_a_damaged_newest(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """When the newest one is damaged, that is said, instead of comparing others."""
    made = [desk.add() for _ in range(3)]
    (made[2].directory / "generation.json").write_text("{")
    assert desk.run("diff") == 4
    assert "generation 3 cannot be read" in capsys.readouterr().err


def test_a_state_directory_of_another_flake(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither command speaks for another guest's generations."""
    desk.add()
    other = desk.folder / "other"
    other.mkdir()
    (desk.generations.state_dir / "guest.json").write_text(json.dumps({"flake": str(other)}))
    for command in ("history", "diff"):
        assert desk.run(command) == 2
        assert "belongs to another guest" in capsys.readouterr().err
