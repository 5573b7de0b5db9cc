from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nixvm_loop.errors import GenerationError, UsageError
from nixvm_loop.generation.identity import check, check_apart, claim, domain_uuid

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_state_directory_is_held_to_its_flake_and_domain(tmp_path: Path) -> None:
    """The first claim stays; the same again is fine; another flake or domain is refused, naming both."""
    claim(tmp_path, flake="github:a/b")
    claim(tmp_path, flake="github:a/b", domain_uuid="u1")
    claim(tmp_path, flake="github:a/b", domain_uuid="u1")
    with pytest.raises(UsageError, match=r"its flake is github:a/b, not /b"):
        claim(tmp_path, flake="/b")
    with pytest.raises(UsageError, match=r"its domain UUID is u1, not u2"):
        check(tmp_path, flake="github:a/b", domain_uuid="u2")


def test_a_flake_that_is_gone_holds_nothing(tmp_path: Path) -> None:
    """A moved checkout, or a corrected slip of the pen, takes the state over; one that is still there keeps it."""
    old, new, state = tmp_path / "old", tmp_path / "new", tmp_path / "state"
    old.mkdir()
    claim(state, flake=str(old))
    with pytest.raises(UsageError):
        claim(state, flake=str(new))
    old.rename(new)
    claim(state, flake=str(new))
    with pytest.raises(UsageError):
        check(state, flake=str(old))


def test_looking_writes_nothing(tmp_path: Path) -> None:
    """`check` neither makes the state directory nor claims it."""
    check(tmp_path / "state", flake="/a")
    assert not (tmp_path / "state").exists()


def test_a_state_directory_in_a_flake_that_is_its_whole_folder(tmp_path: Path) -> None:
    """It is refused outside git, where each cycle would change the flake, and nowhere else."""
    flake = tmp_path / "flake"
    (flake / "sub").mkdir(parents=True)
    check_apart(tmp_path / "state/demo", flake)
    check_apart(flake / "state/demo", None)
    with pytest.raises(UsageError, match="is in the flake") as caught:
        check_apart(flake / "state/demo", flake)
    assert "outside the flake" in (caught.value.hint or "")
    (tmp_path / ".git").mkdir()
    check_apart(flake / "state/demo", flake)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b"[" * 100_000])
def test_a_damaged_file_is_told_with_the_cure(tmp_path: Path, content: bytes) -> None:
    """Its path once, what is wrong with it, and that it may be removed; nothing of it changes."""
    path = tmp_path / "guest.json"
    path.write_bytes(content)
    for look in (check, claim):
        with pytest.raises(GenerationError, match=rf"^{path} is damaged: it ") as caught:
            look(tmp_path, flake="/a")
        assert caught.value.message.count(str(path)) == 1
        assert (caught.value.hint or "").startswith("remove it")
    with pytest.raises(GenerationError, match="is damaged"):
        domain_uuid(tmp_path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("look", [check, claim])
def test_a_state_directory_in_an_impossible_place(tmp_path: Path, look: Callable[..., None]) -> None:
    """The reason in plain words, the path once, and what to set."""
    (tmp_path / "file").touch()
    with pytest.raises(GenerationError) as caught:
        look(tmp_path / "file/demo", flake="/a")
    assert caught.value.message == f"{tmp_path}/file/demo/guest.json cannot be read: Not a directory"
    assert "set state_dir to a folder" in (caught.value.hint or "")
