"""Wherever a command was killed, the next one finishes or undoes it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nixvm_loop.domain import Connection, Domain
from nixvm_loop.domain.faults import ask
from nixvm_loop.errors import DomainError
from nixvm_loop.generation import identity, original
from tests.commands.adoption import ALREADY, Desk

if TYPE_CHECKING:
    import pytest


def test_before_the_define(desk: Desk) -> None:
    """Only the original is kept: both commands go on from there."""
    for command, kept in (("release", False), ("adopt", True)):
        desk.state.mkdir(parents=True, exist_ok=True)
        original.keep(desk.state, desk.before)
        assert desk.run(command, "-y") == 0
        assert (desk.state / "adopted.xml").exists() is kept
        assert ("<kernel>" in desk.definition()) is kept
    assert desk.run("release", "-y") == 0
    assert desk.definition() == desk.before


def test_before_the_define_and_changed_since(desk: Desk) -> None:
    """An adoption that never was does not stand in the way of one of the domain as it is now."""
    desk.state.mkdir(parents=True)
    original.keep(desk.state, desk.before)
    desk.edit("<vcpu placement='static'>2<", "<vcpu placement='static'>3<")
    changed = desk.definition()
    assert desk.run("adopt", "-y") == 0
    assert desk.run("release", "-y") == 0
    assert desk.definition() == changed


def test_after_the_define_and_undone_in_part(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """What is half adopted is never taken for the original."""
    desk.run("adopt", "-y")
    (desk.state / "adopted-as.xml").unlink()
    desk.define(re.sub("<(kernel|initrd|cmdline)>.*?</[a-z]+>", "", desk.definition()))
    capsys.readouterr()
    assert desk.run("adopt", "-y") == 5
    assert "was being adopted, and was then changed by somebody else" in capsys.readouterr().err
    assert (desk.state / "adopted.xml").read_text() == desk.before
    assert desk.run("release", "-y") == 0
    assert desk.definition() == desk.before


def test_by_a_libvirt_that_answers_too_late(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The definition comes after we have given up: the original is kept for it."""
    late: list[str] = []

    async def define(_: Connection, xml: str) -> Domain:
        late.append(xml)
        raise DomainError("libvirt did not answer within 30s while defining the domain") from TimeoutError()

    with monkeypatch.context() as patched:
        patched.setattr(Connection, "define", define)
        assert desk.run("adopt", "-y") == 5
    desk.define(late[0])
    assert desk.run("release", "-y") == 0
    assert desk.definition() == desk.before


def test_by_a_libvirt_that_refuses(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The domain and the state are as they were: the state is nobody's, and the next adoption is the first."""

    async def define(self: Connection, _: str) -> Domain:
        return await ask("defining the domain", self.handle.defineXML, "<domain type='test'><name>uefi</name></domain>")

    with monkeypatch.context() as patched:
        patched.setattr(Connection, "define", define)
        assert desk.run("adopt", "-y") == 5
    assert "defining the domain failed" in capsys.readouterr().err
    assert desk.definition() == desk.before
    assert [file.name for file in desk.state.iterdir()] == ["lock"]
    assert desk.run("adopt", "-y") == 0


def test_by_who_changed_it_meanwhile(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the user reads the difference the domain is edited: nothing is done, and nothing left behind."""
    monkeypatch.setattr(
        "nixvm_loop.commands.redefine.agree", lambda *_, **__: desk.edit("<vcpu placement='static'>2<", "<vcpu>3<")
    )
    assert desk.run("adopt") == 5
    assert "was changed meanwhile, by somebody else; nothing was done" in capsys.readouterr().err
    assert not desk.state.exists()


def test_by_a_start(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was started meanwhile."""
    monkeypatch.setattr("nixvm_loop.commands.redefine.agree", lambda *_, **__: desk.domain.create())
    assert desk.run("adopt") == 5
    assert not desk.state.exists()


def test_after_the_define(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """An adopted domain without the record of it: adopt completes it without asking."""
    desk.run("adopt", "-y")
    record = (desk.state / "adopted-as.xml").read_text()
    (desk.state / "adopted-as.xml").unlink()
    (desk.state / "guest.json").unlink()
    capsys.readouterr()
    assert desk.run("adopt") == 0
    assert ALREADY in capsys.readouterr().err
    assert (desk.state / "adopted-as.xml").read_text() == record
    assert identity.domain_uuid(desk.state) == desk.domain.UUIDString()


def test_release_without_the_record(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Release then says that it does not know what others changed."""
    desk.run("adopt", "-y")
    (desk.state / "adopted-as.xml").unlink()
    assert desk.run("release", "-y") == 0
    assert "it is not known what others changed since" in capsys.readouterr().err
    assert desk.definition() == desk.before


def test_release_after_the_define(desk: Desk) -> None:
    """The domain is what it was and the files are still there: release removes them, and asks nothing."""
    desk.run("adopt", "-y")
    desk.define(desk.before)
    assert desk.run("release") == 0
    assert list(desk.state.glob("adopted*")) == []
