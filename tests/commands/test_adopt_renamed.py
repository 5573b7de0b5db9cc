"""`virsh domrename` after the adoption: the domain is known by its UUID."""

from __future__ import annotations

import pytest

from nixvm_loop import domainxml
from tests.commands.adoption import FLAGS, Desk


@pytest.fixture(autouse=True)
def _renamed(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.run("adopt", "-y")
    desk.domain.rename("web")
    desk.domain = desk.connection.lookupByName("web")
    capsys.readouterr()


@pytest.mark.parametrize("command", [("release", "-y"), ("adopt", "-y"), ("verify",)])
def test_the_config_has_the_old_name(desk: Desk, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]) -> None:
    """Whatever needs the domain says what it is called and how the config, or libvirt, names it again."""
    adopted = desk.definition()
    assert desk.run(*command) == 5
    said = capsys.readouterr().err
    assert f"this guest's domain is web (UUID {desk.domain.UUIDString()}), not uefi" in said
    assert 'domain = "web" in the config names it again' in said
    assert "`virsh domrename web uefi`" in said
    assert desk.definition() == adopted


def test_another_has_its_name_by_now(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """That one is left alone, and the adopted one is named."""
    other = desk.define("<domain type='test'><name>uefi</name><memory>65536</memory><os><type>hvm</type></os></domain>")
    before = other.XMLDesc(FLAGS)
    assert desk.run("release", "-y") == 5
    assert "this guest's domain is web" in capsys.readouterr().err
    assert other.XMLDesc(FLAGS) == before


def test_status(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """It is told with the domain's state."""
    assert desk.run("status") == 0
    assert "uefi: not defined (this guest's domain is web" in capsys.readouterr().out


def test_the_config_has_the_new_name(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Then it is adopted still, and what release brings back keeps the name that it was given."""
    desk.rename("web")
    assert desk.run("adopt") == 0
    assert "domain web is adopted already" in capsys.readouterr().err
    assert desk.run("release", "-y") == 0
    assert "lost by this" not in capsys.readouterr().err
    assert desk.definition() == desk.before.replace("<name>uefi<", "<name>web<")
    assert desk.run("adopt", "-y") == 0
    assert domainxml.read((desk.state / "adopted.xml").read_text()).name == "web"


def test_renamed_back_after_its_release(desk: Desk) -> None:
    """The definition that libvirt has then is the one from before, to the letter."""
    desk.rename("web")
    assert desk.run("release", "-y") == 0
    desk.domain.rename("uefi")
    desk.domain = desk.connection.lookupByName("uefi")
    assert desk.definition() == desk.before
