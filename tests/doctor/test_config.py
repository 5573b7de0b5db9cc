from __future__ import annotations

from pathlib import Path

from nixvm_loop.doctor.config import judge_config, judge_untracked, no_config
from nixvm_loop.errors import ConfigError, UsageError
from nixvm_loop.model.values import Area, ProbeOutcome


def test_a_config_that_cannot_be_used() -> None:
    """Every problem is in the evidence; the exit code is the config's."""
    error = ConfigError("2 problems in a.toml", hint="see it", details=("guests.a.x: unknown", "guests.b: no flake"))
    found = judge_config(error)
    assert found.evidence == "2 problems in a.toml; guests.a.x: unknown; guests.b: no flake"
    assert (found.id, found.fix) == ("config-invalid", "see it")
    report = no_config(UsageError("there is no guest x"))
    assert (report.probe.area, report.outcome, report.exit_code) == (Area.CONFIG, ProbeOutcome.FINDING, 2)


def test_untracked_files() -> None:
    """Only those that a tracked file names are told, with the command that lets Nix see them."""
    (found,) = judge_untracked(["b.nix", "a.nix", "notes.nix"], ["a.nix", "b.nix"], Path("/home/me/guest"))
    assert found.evidence == "a.nix, b.nix"
    assert found.fix == "git -C /home/me/guest add -N a.nix b.nix"
    assert judge_untracked(["notes.nix"], [], Path("/x")) == ()
