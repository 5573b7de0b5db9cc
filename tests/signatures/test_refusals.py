from __future__ import annotations

from pathlib import Path

import pytest

from nixvm_loop.signatures import SIGNATURES, Source, find, find_in_text

RECORDED = Path(__file__).parents[1] / "fixtures" / "refusals"
HEALTHY = Path(__file__).parents[1] / "fixtures"
# Recorded by tests/recorders/refusals.py; those of a kernel with AppArmor or SELinux are from public reports:
# KVM-VMI/kvm-vmi #69, fedora-selinux/selinux-policy pull requests 1559 and 2392, cockpit-project/cockpit #8177,
# coreos/fedora-coreos-tracker #733.
REFUSALS = sorted((Source(file.parent.name), file) for file in RECORDED.glob("*/*.log") if file.stem != "success")
# Whose words could not be provoked.
NOT_RECORDED = {"changed-meanwhile", "virtiofsd-descriptors", "untracked-file"}


@pytest.mark.parametrize(("source", "file"), REFUSALS, ids=lambda value: getattr(value, "stem", None))
def test_a_recorded_refusal_is_known(source: Source, file: Path) -> None:
    """Line by line, as logs are read, and as a whole, a real program's words mean what they are named by."""
    text = file.read_text()
    lines = [found.id for line in text.splitlines() if (found := find(source, line)) is not None]
    whole = find_in_text(source, text)
    assert whole is not None
    assert lines[0] == whole.id == file.stem
    assert "{" not in whole.cause + whole.fix.replace("{ module_request }", "")


@pytest.mark.parametrize("source", [Source.NIX, Source.VIRTIOFSD, Source.KERNEL])
def test_each_signature_has_its_record(source: Source) -> None:
    """None is there for words that nobody has seen, but for those that are said to be."""
    ids = {one.id for one in SIGNATURES if one.source is source}
    recorded = {file.stem for known, file in REFUSALS if known is source}
    assert ids - recorded <= NOT_RECORDED
    assert recorded <= ids


@pytest.mark.parametrize("source", [Source.NIX, Source.VIRTIOFSD, Source.KERNEL])
def test_a_healthy_run_has_none(source: Source) -> None:
    """What was denied without harm, built without error, or served as it should, means nothing."""
    lines = (RECORDED / source / "success.log").read_text().splitlines()
    assert lines
    assert [line for line in lines if find(source, line) is not None] == []


@pytest.mark.parametrize("log", ["nix/2.8/success.log", "nix/2.8/noisy-log.log", "nix/2.26/success.log"])
def test_healthy_builds_have_none(log: str) -> None:
    """Nothing that Nix says of a build that goes well is taken for a refusal."""
    lines = (HEALTHY / log).read_text(errors="replace").splitlines()
    assert [line for line in lines if find(Source.NIX, line) is not None] == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("error: path '/nix/store/x-source/a.nix' in the repository \"/tree\" is not tracked by Git", None),
        ("Path 'guest.nix' in the repository \"/tree\" is not tracked by Git.", "guest.nix"),
        ("/tree/flake.nix:4:5: guest.nix is not tracked by git, so Nix does not see it", "guest.nix"),
    ],
)
def test_an_untracked_file(text: str, name: str | None) -> None:
    """In Nix's own words, or in ours for versions that say less."""
    found = find_in_text(Source.NIX, text)
    assert found is not None
    assert found.id == "untracked-file"
    assert name is None or found.fix == f"git add -N {name}"


def test_others_words() -> None:
    """What could not be provoked: the Rust virtiofsd's, and a virtiofsd that has run out of descriptors."""
    words = {
        "error: unexpected argument '--posix-lock' found": "virtiofsd-option",
        "Error entering sandbox: Fork(Os { code: 1 })": "virtiofsd-sandbox",
        "[617100180193229] [ID: 00000001] mount(/, MS_REC|MS_SLAVE): Permission denied": "virtiofsd-sandbox",
        "fuse: failed to open: Too many open files": "virtiofsd-descriptors",
    }
    assert {line: getattr(find(Source.VIRTIOFSD, line), "id", None) for line in words} == words
