"""`doctor` with libvirt's own test driver as the hypervisor: what is told, and the exit code."""

from __future__ import annotations

import io
import json
import os
import pty
from typing import TYPE_CHECKING, Any

import pytest

from nixvm_loop.cli import main
from nixvm_loop.commands import doctor
from nixvm_loop.doctor.probe import Cure, Remedy
from nixvm_loop.errors import UsageError
from nixvm_loop.generation import identity

if TYPE_CHECKING:
    from pathlib import Path

NODE = """<node><domain type='test'><name>demo</name><memory>65536</memory><on_reboot>destroy</on_reboot>
  <os><type>hvm</type><boot dev='hd'/></os></domain></node>"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config whose libvirt is a file's."""
    (tmp_path / "node.xml").write_text(NODE)
    (tmp_path / "flake.nix").write_text("{ }")
    file = tmp_path / "nixvm-loop.toml"
    file.write_text(
        f'[guests.demo]\nflake = "."\nlibvirt_uri = "test://{tmp_path}/node.xml"\nstate_dir = "{tmp_path}/state"\n'
    )
    return file


def told(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The events on standard output."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_domain_that_boots_from_a_disk(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its findings, each with evidence and link; what depends on a generation says why it was not possible."""
    assert main(["doctor", "-c", str(config), "-o", "json"]) in {2, 5}  # 2 on a machine without Nix
    events = told(capsys)
    found = {event["id"]: event for event in events if event["type"] == "finding"}
    assert {"no-direct-boot", "no-share"} <= found.keys()
    assert found["no-direct-boot"]["evidence"] == "domain demo has no <kernel>"
    assert found["no-direct-boot"]["link"] == "docs/troubleshooting.md#no-direct-boot"
    said = {f"{event['area']}/{event['probe']}": event for event in events if event["type"] == "probe_finished"}
    assert said["domain/boot"]["said"] == "there is no generation yet"
    assert said["guest/ssh"]["outcome"] in {"finding", "not possible"}
    areas = [event["area"] for event in events if event["type"] == "probe_finished"]
    assert areas == sorted(areas, key=["host", "config", "domain", "guest", "logs"].index)


def test_without_a_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2 (or that of what is wrong with the host), a finding instead of an error; the host is looked at."""
    assert main(["doctor", "-c", str(tmp_path / "none.toml")]) in {2, 5}
    out, err = capsys.readouterr()
    for probe in (" nix ", " disk "):
        assert probe in out
    assert "error: config-invalid: the config cannot be used as it stands" in out
    assert err == ""


@pytest.mark.parametrize(("typed", "agreed"), [("y\n", True), ("yes\n", True), ("\n", False), ("no\n", False)])
def test_the_question(
    typed: str,
    agreed: bool,  # noqa: FBT001  # the expectation
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What would be done is shown, and only a yes is one."""
    controller, terminal = pty.openpty()
    try:
        with os.fdopen(terminal) as stdin:
            monkeypatch.setattr("sys.stdin", stdin)
            os.write(controller, typed.encode())
            assert doctor._agreed(Cure(Remedy.RESUME, "demo"), "paused") is agreed
    finally:
        os.close(controller)
    assert "paused: let the domain go on: demo? [y/N] " in capsys.readouterr().err


def test_nobody_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nothing is done, and the call is told how to do without."""
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(UsageError, match="nobody to ask") as caught:
        doctor._agreed(Cure(Remedy.DROP_CACHES), "store-hidden")
    assert caught.value.hint == "say --yes"


def test_a_domain_that_was_renamed(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is found by its UUID, and named as libvirt calls it by now."""
    uuid = "6b1c5f2e-0000-4000-8000-000000000001"
    node = config.with_name("node.xml")
    node.write_text(NODE.replace("<name>demo</name>", f"<name>web</name><uuid>{uuid}</uuid>"))
    identity.claim(config.parent / "state/demo", flake=str(config.parent), domain_uuid=uuid)
    main(["doctor", "-c", str(config), "-o", "json"])
    (found,) = (event for event in told(capsys) if event["type"] == "finding" and event["id"] == "no-domain")
    assert found["evidence"] == f"this guest's domain is web (UUID {uuid}), not demo"
    assert 'domain = "web"' in found["fix"]
