from __future__ import annotations

from pathlib import Path

import pytest

from nixvm_loop.errors import GenerationError
from nixvm_loop.nix.diff import closure_difference, etc_difference


@pytest.mark.usefixtures("real_nix")
async def test_paths_that_nix_does_not_know(tmp_path: Path) -> None:
    """A path that is not valid in the store is a GenerationError with Nix's own words, not an empty difference."""
    nowhere = Path("/nix/store/00000000000000000000000000000000-nowhere")
    with pytest.raises(GenerationError, match="nix cannot compare") as caught:
        await closure_difference(nowhere, tmp_path)
    assert caught.value.details
    assert "\x1b" not in "".join(caught.value.details)


async def test_without_nix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without Nix is told to install it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GenerationError) as caught:
        await closure_difference(tmp_path, tmp_path)
    assert "install Nix" in str(caught.value.hint)


async def test_etc_of_toplevels(tmp_path: Path) -> None:
    """Only what is below `etc` counts."""
    for system, text in (("old", "1"), ("new", "2")):
        (tmp_path / system / "etc").mkdir(parents=True)
        (tmp_path / system / "etc/motd").write_text(text)
        (tmp_path / system / "init").write_text(text)
    trees = await etc_difference(tmp_path / "old", tmp_path / "new")
    assert [change.name for change in trees.changes] == ["motd"]
