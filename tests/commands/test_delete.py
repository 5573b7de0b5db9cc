"""`delete` and `create` with libvirt's own test driver as the hypervisor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libvirt
import pytest

from nixvm_loop.cli import main
from nixvm_loop.domain import Connection, Domain
from nixvm_loop.domain.faults import ask
from nixvm_loop.domainxml import HostFacts
from nixvm_loop.generation import identity

if TYPE_CHECKING:
    from pathlib import Path

UUID = "6b1c5f2e-0000-4000-8000-00000000000{}"
DOMAIN = """<domain type='test'><name>{name}</name><uuid>{uuid}</uuid>{owner}<memory>65536</memory>
  <os><type>hvm</type>{boot}</os></domain>"""
OWNER = "<metadata><g:guest xmlns:g='urn:nixvm-loop:domain:1' name='demo' state='{}'/></metadata>"
BOOT = "<kernel>{0}/kernel-current</kernel><initrd>{0}/initrd-current</initrd>"
GONE_WITH_IT = "its <kernel> and <initrd> are gone with the state"


class Desk:
    """A guest `demo` whose config names the domain `new`, its state, and a hypervisor with running domains."""

    def __init__(self, folder: Path, uri: str | None = None) -> None:
        self.folder, self.state = folder, folder / "state/demo"
        self.domains: list[str] = []
        identity.claim(self.state, flake=str(folder), domain_uuid=UUID.format(1))
        (folder / "nixvm-loop.toml").write_text(
            f'[guests.demo]\nflake = "."\ndomain = "new"\nlibvirt_uri = "{uri or f"test://{folder}/node.xml"}"\n'
            f'state_dir = "{folder}/state"\n[guests.demo.machine]\n'
        )

    def domain(self, name: str, number: int, *, owner: Path | None = None, boots: Path | None = None) -> None:
        """Add a domain, owned by a state directory, booting from one."""
        self.domains.append(
            DOMAIN.format(
                name=name,
                uuid=UUID.format(number),
                owner="" if owner is None else OWNER.format(owner),
                boot="<boot dev='hd'/>" if boots is None else BOOT.format(boots),
            )
        )

    def run(self, *arguments: str) -> int:
        """Run a command."""
        (self.folder / "node.xml").write_text(f"<node>{''.join(self.domains)}</node>")
        return main([*arguments, "-c", str(self.folder / "nixvm-loop.toml")])


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_the_domain_that_the_state_was_made_for(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """It is what the question names and what is removed, though the config names another by now."""
    desk.domain("old", 1, owner=desk.state)
    named = "domain old (the state was made for it; the config names new)"
    assert desk.run("delete") == 2
    assert f"delete would remove {desk.state} and {named}, and there is nobody to ask" in capsys.readouterr().err
    assert desk.state.exists()
    assert desk.run("delete", "--yes") == 0
    assert f"{named} is removed" in capsys.readouterr().err
    assert not desk.state.exists()


def test_both_domains_of_one_state(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Two that boot from this state are both removed."""
    desk.domain("old", 1, owner=desk.state)
    desk.domain("new", 2, owner=desk.state)
    assert desk.run("delete", "--yes") == 0
    said = capsys.readouterr().err
    assert "domain new is removed" in said
    assert "domain old (the state was made for it; the config names new) is removed" in said


def test_the_domain_of_the_state_that_is_not_ours(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """It stays, is named, and what it loses is told."""
    desk.domain("old", 1, boots=desk.state)
    assert desk.run("delete", "--yes") == 0
    said = capsys.readouterr().err
    assert "domain old (the state was made for it; the config names new) was not made by nixvm-loop" in said
    assert GONE_WITH_IT in said
    assert not desk.state.exists()


def test_a_served_domain_that_boots_from_the_store(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Its files stay for now, but nothing keeps them any more."""
    desk.domain("new", 1, boots=desk.folder / "store")
    assert desk.run("delete", "--yes") == 0
    said = capsys.readouterr().err
    assert GONE_WITH_IT not in said
    assert "nothing keeps its <kernel> and <initrd> from Nix's garbage collector" in said


@pytest.mark.parametrize("boots", [None, "elsewhere"])
@pytest.mark.parametrize("owner", [None, "elsewhere/demo"])
def test_a_domain_that_was_never_served(
    desk: Desk, capsys: pytest.CaptureFixture[str], owner: str | None, boots: str | None
) -> None:
    """A domain of the configured name loses nothing with this state, and nothing is said of that."""
    desk.domain(
        "new",
        2,
        owner=None if owner is None else desk.folder / owner,
        boots=None if boots is None else desk.folder / boots,
    )
    assert desk.run("delete", "--yes") == 0
    said = capsys.readouterr().err
    assert "domain new was not made by nixvm-loop for this guest and stays" in said
    assert "<kernel>" not in said
    assert "hint" not in said


@pytest.mark.parametrize("ours", [True, False])
def test_create_under_another_name(desk: Desk, capsys: pytest.CaptureFixture[str], *, ours: bool) -> None:
    """A guest whose domain has another name by now is told which, and the ways out."""
    desk.domain("old", 1, owner=desk.state if ours else None)
    assert desk.run("create") == 5
    said = capsys.readouterr().err
    assert f"this guest's domain is old (UUID {UUID.format(1)}), not new" in said
    assert 'domain = "old" in the config names it again' in said
    assert "`virsh domrename old new`" in said
    assert ("nixvm-loop delete removes it with its state" in said) is ours


def test_a_memory_without_a_uuid(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """A UUID that is none finds nothing, and the state goes."""
    desk.domain("another", 3)
    file = desk.state / "guest.json"
    file.write_text(file.read_text().replace(UUID.format(1), "what"))
    assert desk.run("delete", "--yes") == 0
    assert "domain" not in capsys.readouterr().err


@pytest.mark.parametrize("running", [True, False])
def test_a_domain_with_snapshots(tmp_path: Path, capsys: pytest.CaptureFixture[str], *, running: bool) -> None:
    """Libvirt would not remove it: that is told, with what deletes each of them, before the guest is stopped."""
    libvirt.registerErrorHandler(lambda *_: None, None)
    connection = libvirt.open("test:///default")
    desk = Desk(tmp_path, "test:///default")
    handle = connection.defineXML(
        DOMAIN.format(name="new", uuid=UUID.format(1), owner=OWNER.format(desk.state), boot="")
    )
    try:
        if running:
            handle.create()
        for name in ("one", "two words"):
            handle.snapshotCreateXML(f"<domainsnapshot><name>{name}</name></domainsnapshot>")
        assert desk.run("delete", "--yes") == 5
        said = capsys.readouterr().err
        assert "domain new has snapshots (one, two words): libvirt removes no domain that has any" in said
        assert "`virsh snapshot-delete new one`; `virsh snapshot-delete new 'two words'`" in said
        assert bool(handle.isActive()) is running
        assert desk.state.exists()
        for snapshot in handle.listAllSnapshots():
            snapshot.delete()
        assert desk.run("delete", "--yes") == 0
        assert "new" not in [domain.name() for domain in connection.listAllDomains()]
    finally:
        for domain in connection.listAllDomains():
            if domain.name() == "new":
                for snapshot in domain.listAllSnapshots():
                    snapshot.delete()
                if domain.isActive():
                    domain.destroy()
                domain.undefine()
        connection.close()


def test_create_of_what_libvirt_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own words are told; there is no domain, and the state is nobody's: a key at most is kept for the next try."""

    async def host(_: Connection) -> HostFacts:
        return HostFacts("x86_64", False, "none", False, True, None, 0, (0,), 11_000_000)

    async def define(self: Connection, xml: str) -> Domain:
        return await ask("defining the domain", self.handle.defineXML, xml.replace('model="isa"', 'model="x"'))

    monkeypatch.setattr(Connection, "host", host)  # the test driver's is another processor
    desk = Desk(tmp_path)
    (tmp_path / ".git").mkdir()  # else the state would be a part of the flake
    (desk.state / "guest.json").unlink()
    desk.state.rmdir()
    desk.domain("another", 3)
    with monkeypatch.context() as patched:
        patched.setattr(Connection, "define", define)
        assert desk.run("create") == 5
    said = capsys.readouterr().err
    assert "defining the domain failed: " in said
    assert "model" in said
    assert {path.name for path in desk.state.iterdir()} <= {"lock", "ssh"}
    assert desk.run("create") == 0
    assert identity.domain_uuid(desk.state) is not None
