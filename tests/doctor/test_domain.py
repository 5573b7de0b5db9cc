from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nixvm_loop import domainxml
from nixvm_loop.cycle.definition import BootConfig
from nixvm_loop.doctor.domain import judge_boot, judge_boot_files, judge_definition
from nixvm_loop.doctor.shares import judge_processes, judge_share
from nixvm_loop.domainxml import DomainXml, HostFacts
from nixvm_loop.domainxml.details import details

XML = (Path(__file__).parents[1] / "fixtures/libvirt/user-9.0.xml").read_text()
TAG = domainxml.read(XML).shares[0].tag
HOST = HostFacts(
    arch="x86_64",
    kvm=False,
    no_kvm_because="",
    passt=False,
    readonly_share=False,
    rom=None,
    qemu_uid=64055,
    qemu_gids=(64055,),
    libvirt_version=9_000_000,
)


def domain(**changes: Any) -> DomainXml:
    """A definition with all that is needed, and these changes."""
    known = {
        "kernel": "/k",
        "initrd": "/i",
        "cmdline": "init=/nix/store/1/init",
        "on_reboot": "destroy",
        "shared_memory": True,
        "shares": (domainxml.Share("store", "/nix/store", "virtiofs", 1024, readonly=False),),
    }
    made = domainxml.read("<domain><name>demo</name></domain>")
    return DomainXml(**{name: getattr(made, name) for name in DomainXml.__dataclass_fields__} | known | changes)


def share(queue: int | None = 1024, *, readonly: bool = False, driver: str = "virtiofs") -> dict[str, Any]:
    """One share of a definition."""
    return {"shares": (domainxml.Share("store", "/nix/store", driver, queue, readonly=readonly),)}


@pytest.mark.parametrize(
    ("changes", "ids"),
    [
        ({}, []),
        ({"shared_memory": False}, ["no-shared-memory"]),
        ({"shares": ()}, ["no-share"]),
        (share(driver="path"), ["no-share"]),
        (share(2048), ["queue-too-large"]),
        (share(1000), ["queue-too-large"]),
        (share(256), ["queue-small"]),
        (share(None), ["queue-small"]),
        (share(readonly=True), ["readonly-share"]),
    ],
)
def test_shares(changes: dict[str, Any], ids: list[str]) -> None:
    """What keeps a share from being started or from being quick; a sound one is nothing to tell."""
    assert [one.id for one in judge_share(domain(**changes), "store", HOST)] == ids


def test_a_share_of_another_tag() -> None:
    """The tags that there are stand in the evidence."""
    (found,) = judge_share(domain(), "other", HOST)
    assert found.evidence == 'shares of domain demo: store (virtiofs); store.share is "other"'


def test_what_a_definition_boots() -> None:
    """A disk, a reboot that restarts, no or two init=, another generation; the right one is nothing to tell."""
    wanted = BootConfig("/k", "/i", "init=/nix/store/1/init")
    assert judge_definition(domain()) == ()
    assert [one.id for one in judge_definition(domain(kernel=None, on_reboot="restart"))] == [
        "no-direct-boot",
        "on-reboot",
    ]
    assert judge_boot(domain(), wanted) == judge_boot(domain(), None) == ()
    for cmdline in ("quiet", "init=/a init=/b", None):
        assert [one.id for one in judge_boot(domain(cmdline=cmdline), wanted)] == ["not-one-init"]
    (other,) = judge_boot(domain(kernel="/other"), wanted)
    assert (other.id, other.evidence) == ("other-generation", "<kernel> is /other, not /k")


def test_a_read_only_share_that_the_host_cannot_make() -> None:
    """What is too old is the evidence; a domain of ours is defined anew, a user's own is edited."""
    host = replace(HOST, no_readonly_because="virtiofsd 1.12.0 is older than 1.13")
    shared = share(readonly=True)
    (theirs,) = judge_share(domain(**shared), "store", host)
    assert theirs.evidence == "<readonly/> in share store; virtiofsd 1.12.0 is older than 1.13"
    assert theirs.fix.startswith("remove <readonly/> from the share")
    (ours,) = judge_share(domain(**shared, owner=domainxml.Owner("demo", "/s")), "store", host)
    assert ours.fix.startswith("nixvm-loop create")


def test_boot_files(tmp_path: Path) -> None:
    """One that is not there, one behind a closed door, which is named, and one that QEMU's user can read."""
    tmp_path.chmod(0o755)
    kernel = tmp_path / "closed/kernel"
    assert [one.id for one in judge_boot_files(domain(kernel=str(kernel), initrd=None), HOST)] == ["no-boot-file"]
    kernel.parent.mkdir(mode=0o700)
    kernel.touch()
    (found,) = judge_boot_files(domain(kernel=str(kernel), initrd=None), HOST)
    assert found.id == "boot-file-forbidden"
    assert " is closed to it" in found.evidence
    mine = HostFacts(**{name: getattr(HOST, name) for name in HostFacts.__dataclass_fields__} | {"qemu_uid": 0})
    assert judge_boot_files(domain(kernel=str(kernel), initrd=None), mine) == ()


def test_details() -> None:
    """A definition as libvirt prints it: its programs, its files, and whether locks are asked for."""
    known = details(XML)
    assert known.emulator is not None
    assert ("<emulator>", known.emulator) in known.files
    assert not known.locks
    asked = XML.replace("<source dir=", "<binary path='/v'><lock posix='on'/></binary><source dir=", 1)
    assert details(asked).locks
    assert details(asked).daemons == ("/v", *known.daemons)
    passt = "<domain><devices><interface type='user'><backend type='passt'/></interface></devices></domain>"
    assert details(passt).backends == ("passt",)


def test_a_share_that_died() -> None:
    """A virtiofsd that has ended is an error, with its process; one that runs is nothing to tell."""
    (found,) = judge_processes("demo", (4711,))
    assert (found.id, found.evidence) == ("virtiofsd-gone", "process 4711 of domain demo has ended")
    assert judge_processes("demo", ()) == ()
