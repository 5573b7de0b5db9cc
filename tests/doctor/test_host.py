from __future__ import annotations

from pathlib import Path

import pytest

from nixvm_loop.doctor import host
from nixvm_loop.errors import DomainError
from nixvm_loop.model.values import Severity
from nixvm_loop.process import Outcome, Request

REFUSALS = Path(__file__).parents[1] / "fixtures/refusals/nix"
C_DAEMON = "virtiofsd version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)"
RUST_DAEMON = "virtiofsd 1.13.0"


def outcome(stderr: str, code: int = 1) -> Outcome:
    """How `nix store ping` ended."""
    return Outcome(Request(("nix", "store", "ping")), code, b"", stderr.encode(), 0.1)


def test_nix() -> None:
    """A daemon that is away is told apart from all else that Nix says; an answer is no finding."""
    away = host.judge_nix(outcome((REFUSALS / "nix-daemon.log").read_text()))
    assert [one.id for one in away] == ["nix-daemon"]
    (other,) = host.judge_nix(outcome("error: don't know how to open Nix store 'bogus://store'"))
    assert other.id == "nix-fails"
    assert "bogus://store" in other.evidence
    assert host.judge_nix(outcome("", 0)) == ()


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (
            DomainError("connecting failed", details=("Failed to connect socket to '/run/x': Permission denied",)),
            "libvirt-permission",
        ),
        (DomainError("connecting to libvirt at x failed: something new"), "libvirt-refuses"),
    ],
)
def test_libvirt(error: DomainError, name: str) -> None:
    """A refusal has its signature's name, an unknown one the general name and libvirt's own words."""
    found = host.judge_refusal(error)
    assert (found.id, found.severity) == (name, Severity.ERROR)
    assert found.evidence in (*error.details, error.message)
    assert found.fix


def test_virtiofsd() -> None:
    """None, one that is not there, one that is something else; and one that is well."""
    assert [one.id for one in host.judge_virtiofsd((), {})] == ["no-virtiofsd"]
    assert [one.id for one in host.judge_virtiofsd(("/x",), {"/x": None})] == ["no-virtiofsd"]
    assert [one.id for one in host.judge_virtiofsd(("/bin/false",), {"/bin/false": ""})] == ["virtiofsd-failed"]
    assert host.judge_virtiofsd(("/v",), {"/v": C_DAEMON}) == ()
    said_to_others = "setgroups() failed with error=1:Operation not permitted"
    assert host.judge_virtiofsd(("/v",), {"/v": said_to_others}) == ()


def test_locks() -> None:
    """`<lock>` is wrong for the virtiofsd written in Rust only, which says its version in another way."""
    assert [one.id for one in host.judge_locks(RUST_DAEMON, locks=True)] == ["lock-option"]
    assert host.judge_locks(RUST_DAEMON, locks=False) == host.judge_locks(C_DAEMON, locks=True) == ()


def test_passt() -> None:
    """Missing where the domain needs it, and only there."""
    assert [one.id for one in host.judge_passt(there=False, needed=True)] == ["no-passt"]
    assert host.judge_passt(there=False, needed=False) == host.judge_passt(there=True, needed=True) == ()


def test_limits() -> None:
    """Each limit has its own word; enough of everything is nothing to tell."""
    assert [one.id for one in host.judge_limits(256, 100, 1)] == ["few-descriptors", "few-watches", "few-watches"]
    assert host.judge_limits(1024, 8192, 128) == ()


def test_room_and_memory() -> None:
    """Little room and little memory are warnings, with the figures."""
    (room,) = host.judge_room(Path("/nix/store"), 100 << 20)
    assert (room.id, room.evidence) == ("disk-space", "/nix/store: 100.0 MiB free")
    assert host.judge_room(Path("/nix/store"), 10 << 30) == ()
    (memory,) = host.judge_memory(8 << 30, 1 << 30)
    assert memory.id == "host-memory"
    assert "8.0 GiB" in memory.evidence
    assert host.judge_memory(1 << 30, 8 << 30) == ()
