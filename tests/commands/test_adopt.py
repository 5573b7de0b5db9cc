"""`adopt` and `release` with libvirt's own test driver as the hypervisor."""

from __future__ import annotations

import json
import re
import stat
import sys
from typing import Any

import pytest

from nixvm_loop import domainxml
from nixvm_loop.cycle.observe import is_read_only
from nixvm_loop.generation import identity, original
from tests.checkout import PYTHONPATH
from tests.commands.adoption import ALREADY, SHARE, SNAPSHOT, Desk
from tests.present.shell import Shell


def test_there_and_back(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """The difference is shown, the original is kept for its owner alone, and comes back to the letter."""
    assert desk.run("adopt", "uefi", "--yes") == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[:2] == ["--- uefi as it is defined", "+++ uefi as it would be"]
    assert f"+    <kernel>{desk.state}/kernel-current</kernel>" in shown.out.splitlines()
    assert "secret" not in shown.out + shown.err
    assert f"domain uefi is adopted; what it was is kept in {desk.state}/adopted.xml" in shown.err
    assert (desk.state / "adopted.xml").read_text() == desk.before
    assert {stat.S_IMODE(file.stat().st_mode) for file in desk.state.glob("adopted*")} == {0o600}
    adopted = desk.definition()
    assert "<kernel>" in adopted
    assert "passwd='secret'" in adopted
    assert (desk.state / "kernel-current").is_symlink()

    assert desk.run("release", "-y") == 0
    shown = capsys.readouterr()
    assert f"-    <kernel>{desk.state}/kernel-current</kernel>" in shown.out.splitlines()
    assert "is defined as it was before its adoption" in shown.err
    assert "changed since" not in shown.err
    assert desk.definition() == desk.before
    assert list(desk.state.glob("adopted*")) == []


def test_twice(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """A second adopt or release finds nothing to do, asks nothing and is exit 0."""
    assert desk.run("adopt", "--yes") == 0
    adopted, files = desk.definition(), sorted(desk.state.iterdir())
    capsys.readouterr()
    assert desk.run("adopt") == 0
    said = capsys.readouterr()
    assert ALREADY in said.err
    assert said.out == ""
    assert desk.definition() == adopted
    assert sorted(desk.state.iterdir()) == files
    assert desk.run("release", "--yes") == 0
    assert desk.run("release") == 0
    assert "domain uefi is not adopted: there is nothing to give back" in capsys.readouterr().err
    assert desk.run("adopt", "--yes") == 0
    assert desk.definition() == adopted


def test_nobody_to_ask(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal and without --yes the difference is shown and nothing is done, both ways."""
    assert desk.run("adopt", "uefi") == 2
    said = capsys.readouterr()
    assert "+    <kernel>" in said.out
    assert "adopt would change the definition of domain uefi, and there is nobody to ask" in said.err
    assert desk.untouched()
    desk.run("adopt", "--yes")
    adopted = desk.definition()
    assert desk.run("release") == 2
    assert "release would change the definition of domain uefi, and there is nobody to ask" in capsys.readouterr().err
    assert desk.definition() == adopted
    assert (desk.state / "adopted.xml").exists()


@pytest.mark.parametrize(("answer", "code", "adopted"), [("y", 0, True), ("n", 2, False), ("", 2, False)])
def test_the_answer(desk: Desk, answer: str, code: int, *, adopted: bool) -> None:
    """On a terminal the question comes below the coloured difference, and anything but yes leaves all as it is."""
    (desk.folder / "node.xml").write_text(f"<node>{desk.before}</node>")
    config = desk.folder / "nixvm-loop.toml"
    config.write_text(config.read_text().replace("test:///default", f"test://{desk.folder}/node.xml"))
    with Shell.opened(desk.folder, {"PYTHONPATH": PYTHONPATH}) as shell:
        shell.type(f"{sys.executable} -m nixvm_loop adopt --while-running; echo code=$?\n")
        shell.shows("Define domain uefi like this? [y/N]")
        assert "+    <filesystem" in shell.screen.shown()
        shell.type(f"{answer}\n")
        shell.shows(f"code={code}")
    assert (desk.state / "adopted.xml").exists() is adopted


def test_as_events(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """With -o json the difference and what was done are events, and nothing else is on stdout."""
    assert desk.run("adopt", "-y", "-o", "json") == 0
    events: list[dict[str, Any]] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["type"] for event in events[:2]] == ["definition_change", "notice"]
    assert events[0]["domain"] == "uefi"
    assert any("<kernel>" in line for line in events[0]["lines"])


def test_what_a_cycle_sets_is_no_change(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Another kernel and command line are neither in the way of a second adopt nor a loss at release."""
    desk.run("adopt", "-y")
    desk.edit("init=/not-built-yet", "init=/nix/store/x/init quiet")
    assert desk.run("adopt") == 0
    assert ALREADY in capsys.readouterr().err
    assert desk.run("release", "-y") == 0
    assert "lost by this" not in capsys.readouterr().err
    assert desk.definition() == desk.before


def test_what_others_changed_is_told(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Release names what others changed since, says how to keep it, and brings back the original all the same."""
    desk.run("adopt", "-y")
    desk.edit("<vcpu placement='static'>2<", "<vcpu placement='static'>4<")
    desk.edit("<devices>", "<devices><watchdog model='i6300esb'/>")
    capsys.readouterr()
    assert desk.run("release") == 2
    said = capsys.readouterr().err
    assert "warning: changed since the adoption, and lost by this: vcpu: 2 became 4" in said
    assert "lost by this: devices/watchdog i6300esb was added" in said
    assert "virsh dumpxml --inactive --security-info uefi >FILE" in said
    assert desk.run("release", "--yes") == 0
    assert desk.definition() == desk.before


def test_a_share_that_others_removed_comes_again(desk: Desk) -> None:
    """An adopted domain that lost a part of it gets that back, and release still knows the original."""
    desk.run("adopt", "-y")
    adopted = desk.definition()
    start = adopted.index("    <filesystem")
    desk.edit(adopted[start : adopted.index("</filesystem>") + 14], "")
    assert desk.run("adopt", "-y") == 0
    assert "nix-store-share" in desk.definition()
    assert desk.run("release", "-y") == 0
    assert desk.definition() == desk.before


def test_taken_off_by_others(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """A domain that somebody took off direct boot, and not back to the original, is left to the user to decide."""
    desk.run("adopt", "-y")
    desk.define(desk.before.replace("<vcpu placement='static'>2<", "<vcpu placement='static'>3<"))
    assert desk.run("adopt", "-y") == 5
    said = capsys.readouterr().err
    assert "was adopted, and then taken off direct boot by somebody else" in said
    assert f"move {desk.state}/adopted.xml away" in said
    assert desk.run("release", "-y") == 0
    assert desk.definition() == desk.before


def test_brought_back_by_hand(desk: Desk) -> None:
    """After the original was defined by hand, adopt starts anew and release only forgets."""
    desk.run("adopt", "-y")
    desk.define(desk.before)
    assert desk.run("release") == 0
    assert not (desk.state / "adopted.xml").exists()
    desk.run("adopt", "-y")
    desk.define(desk.before)
    assert desk.run("adopt", "-y") == 0
    assert "<kernel>" in desk.definition()


@pytest.mark.parametrize("command", ["release", "adopt"])
def test_the_state_is_somewhere_else(desk: Desk, capsys: pytest.CaptureFixture[str], command: str) -> None:
    """The guest was renamed, or it is another guest's domain: neither is anything said to be done, nor done."""
    desk.run("adopt", "-y")
    adopted = desk.definition()
    text = (desk.folder / "nixvm-loop.toml").read_text()
    (desk.folder / "nixvm-loop.toml").write_text(text.replace('/state"', '/elsewhere"'))
    capsys.readouterr()
    assert desk.run(command, "-y") == 5
    assert f"what is kept of the domain is in {desk.state}" in capsys.readouterr().err
    assert desk.definition() == adopted
    assert not (desk.folder / "elsewhere").exists()


def test_a_store_that_the_guest_could_change(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said; libvirt's test driver, an old one, cannot share read-only."""
    assert desk.run("adopt", "-y") == 0
    share = domainxml.read(desk.definition()).share("nix-store-share")
    assert share is not None
    told = "root in the guest could change it" in capsys.readouterr().err
    assert told is not (share.readonly or is_read_only("/nix/store"))


def test_a_network_that_libvirt_does_not_have(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """It is warned about: the domain would not start, whoever starts it."""
    desk.edit("<devices>", "<devices><interface type='network'><source network='nosuchnet'/></interface>")
    assert desk.run("adopt", "-y") == 0
    assert "libvirt has no network nosuchnet" in capsys.readouterr().err


def saved(desk: Desk) -> None:
    desk.domain.create()
    desk.domain.managedSave()


def snapshot_of_a_running_one(desk: Desk) -> None:
    desk.domain.create()
    desk.domain.snapshotCreateXML(SNAPSHOT)
    desk.domain.destroy()


def transient(desk: Desk) -> None:
    desk.domain.create()
    desk.domain.undefine()


@pytest.mark.parametrize(
    ("make", "says", "cure"),
    [
        (lambda desk: desk.domain.create(), "domain uefi is running", "--while-running"),
        (transient, "domain uefi is transient", "virsh define uefi.xml"),
        (saved, "domain uefi has a saved state", "virsh managedsave-remove uefi"),
        (snapshot_of_a_running_one, "has snapshots that hold its memory (before)", "snapshot-delete uefi before"),
        (
            lambda desk: desk.edit("<loader readonly='yes'", "<loader secure='yes' readonly='yes'"),
            "<loader secure='yes'>",
            "secure boot",
        ),
        (
            lambda desk: desk.edit("<devices>", "<devices>" + SHARE.format("/srv")),
            "<filesystem> with <target dir='nix-store-share'/> that leads to /srv",
            "store.share",
        ),
        (
            lambda desk: desk.edit(
                "<metadata>", "<metadata><g:guest xmlns:g='urn:nixvm-loop:domain:1' name='web' state='/s'/>"
            ),
            "was made by nixvm-loop create, for guest web",
            "[guests.web.machine]",
        ),
    ],
)
def test_what_is_refused(desk: Desk, capsys: pytest.CaptureFixture[str], make: Any, says: str, cure: str) -> None:
    """Each is exit 5 with its element and its cure; neither the domain nor the disk is changed."""
    make(desk)
    desk.before = desk.definition()
    assert desk.run("adopt", "uefi", "--yes") == 5
    said = capsys.readouterr()
    assert says in said.err
    assert cure in said.err
    assert said.err.count("error:") == 1
    assert desk.untouched()


def test_snapshots_of_disks(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of a machine that was off are no obstacle; what going back to one would do is told."""
    desk.domain.snapshotCreateXML(SNAPSHOT)
    assert desk.run("adopt", "-y") == 0
    assert "going back to one brings back the definition of its time" in capsys.readouterr().err
    assert desk.domain.snapshotNum() == 1


def test_release_with_snapshots(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """One that was made while the domain was adopted would bring the adopted definition back: that is told."""
    desk.run("adopt", "-y")
    desk.domain.snapshotCreateXML(SNAPSHOT)
    capsys.readouterr()
    assert desk.run("release", "-y") == 0
    assert "has snapshots: going back to one brings back the definition of its time" in capsys.readouterr().err
    assert desk.definition() == desk.before


def test_release_of_a_disk_with_a_new_file(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """A snapshot beside the disk (--disk-only) has what was written since: the way to keep it is told first."""
    file = re.search(r"<source file='([^']*)'", desk.before)
    assert file is not None
    desk.run("adopt", "-y")
    desk.edit(file[1], "/var/lib/uefi.snap1")
    capsys.readouterr()
    assert desk.run("release") == 2
    said = capsys.readouterr().err
    assert f"disk vda is /var/lib/uefi.snap1 now, and would be {file[1]} again" in said
    assert "`virsh blockcommit uefi vda --active --pivot`" in said


def test_while_running(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """A running domain is given another definition only where that is said; what runs is left alone."""
    desk.domain.create()
    live = desk.domain.XMLDesc(0)
    assert desk.run("adopt", "-y", "--while-running") == 0
    assert "<kernel>" in desk.definition()
    assert desk.run("release", "-y") == 5
    assert "domain uefi is running" in capsys.readouterr().err
    assert desk.run("release", "-y", "--while-running") == 0
    assert desk.definition() == desk.before
    assert desk.domain.XMLDesc(0) == live
    assert desk.domain.isActive()


def test_a_network_that_is_down(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """It is told which, with what starts it; the domain is adopted all the same."""
    network = desk.connection.networkLookupByName("default")
    network.destroy()
    try:
        assert desk.run("adopt", "-y") == 0
    finally:
        network.create()
    said = capsys.readouterr().err
    assert "libvirt's network default, which domain uefi is attached to, is down" in said
    assert "virsh net-start default" in said


def test_nothing_to_adopt(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """A domain that boots directly with the share already is left as it is, and nothing is kept."""
    desk.run("adopt", "-y")
    (desk.state / "adopted.xml").unlink()
    before = desk.definition()
    assert desk.run("adopt") == 0
    assert "boots directly and shares the store already: there is nothing to adopt" in capsys.readouterr().err
    assert desk.definition() == before
    assert not (desk.state / "adopted.xml").exists()


def test_a_share_of_the_store_is_kept(desk: Desk) -> None:
    """A virtiofs share with the right tag and source stays, without a second one."""
    desk.edit("<devices>", "<devices>" + SHARE.format("/nix/store"))
    assert desk.run("adopt", "-y") == 0
    assert desk.definition().count("<filesystem") == 1


def test_a_guest_with_a_machine(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Its domain is made, not adopted."""
    desk.configure("[guests.demo.machine]")
    assert desk.run("adopt", "-y") == 2
    assert "guest demo has a [machine] table" in capsys.readouterr().err
    assert desk.untouched()


def test_the_state_of_another(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """A state directory that was made for another domain is refused, by its record or by what it keeps."""
    identity.claim(desk.state, flake=str(desk.folder / "flake"), domain_uuid="6b1c5f2e-0000-4000-8000-00000000000f")
    assert desk.run("adopt", "-y") == 2
    assert "belongs to" in capsys.readouterr().err
    (desk.state / "guest.json").unlink()
    original.keep(desk.state, desk.before.replace(desk.domain.UUIDString(), "6b1c5f2e-0000-4000-8000-00000000000f"))
    assert desk.run("adopt", "-y") == 5
    assert "keeps the definition of another domain than uefi" in capsys.readouterr().err
    assert desk.run("release", "-y") == 5
    assert "domain uefi is not the adopted one" in capsys.readouterr().err
    assert desk.definition() == desk.before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["other"], 'add two lines, `[guests.other]` and `flake = "."`, or write domain = "other" into its guest'),
        (["uefo"], "did you mean uefi?"),
        (["my vm"], '`[guests."my vm"]`'),
        (["other", "-g", "demo"], "guest demo has the domain uefi, not other"),
    ],
)
def test_no_such_guest(desk: Desk, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
    """A domain that no guest of the config has is a usage error that says which lines to write."""
    assert desk.run("adopt", *arguments) == 2
    assert says in capsys.readouterr().err
    assert desk.untouched()


def test_no_such_domain(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """A domain that libvirt has not is exit 5, with a name that is near; one that is gone keeps its original."""
    desk.configure('[guests.near]\nflake = "./flake"\ndomain = "uefy"\nlibvirt_uri = "test:///default"')
    assert desk.run("adopt", "uefy", "-y") == 5
    assert 'did you mean domain = "uefi"?' in capsys.readouterr().err
    desk.configure()
    desk.run("adopt", "-y")
    desk.domain.undefine()
    assert desk.run("release", "-y") == 5
    said = capsys.readouterr().err
    assert "there is no domain uefi any more: nothing can be given back" in said
    assert f"{desk.state}/adopted.xml keeps the definition from before (`virsh define` takes it)" in said


def test_delete_keeps_the_original(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """The state of an adopted domain is not removed; after its release it is, and the domain stays."""
    desk.run("adopt", "-y")
    assert desk.run("delete", "-y") == 2
    said = capsys.readouterr().err
    assert "domain uefi is adopted: with the state its original definition would be lost" in said
    assert "nixvm-loop release" in said
    assert desk.run("release", "-y") == 0
    assert desk.run("delete", "-y") == 0
    assert not desk.state.exists()
    assert desk.definition() == desk.before


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"<domain>", "cannot be read"),
        (b"", "cannot be read"),
        (b"<other/>", "starts with <other>"),
        (b"\xff", "UTF-8"),
    ],
)
def test_a_damaged_original(desk: Desk, capsys: pytest.CaptureFixture[str], content: bytes, why: str) -> None:
    """A kept definition that cannot be read is named, and nothing is done with the domain or the state."""
    desk.run("adopt", "-y")
    (desk.state / "adopted.xml").write_bytes(content)
    adopted = desk.definition()
    for command in ("adopt", "release", "delete"):
        capsys.readouterr()
        assert desk.run(command, "-y") == 4
        said = capsys.readouterr().err
        assert f"{desk.state}/adopted.xml is damaged: " in said
        assert why in said
    assert desk.definition() == adopted
    assert (desk.state / "adopted.xml").read_bytes() == content


def test_delete_after_the_domain_is_gone(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """The only copy of an original is not removed with the rest of the state."""
    desk.run("adopt", "-y")
    desk.domain.undefine()
    assert desk.run("delete", "-y") == 0
    assert f"{desk.state} stays: it holds adopted.xml" in capsys.readouterr().err
    assert [file.name for file in desk.state.iterdir()] == ["adopted.xml"]
