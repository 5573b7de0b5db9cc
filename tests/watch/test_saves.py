"""What a save is, and what only looks like one. The marker shows that whatever came before it was seen and left out."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.watch.conftest import Kit


def _plain(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _atomic(path: Path, text: str) -> None:
    new = path.with_name("sedQx81")
    _plain(new, text)
    new.rename(path)


def _vim(path: Path, text: str) -> None:
    swap, probe, backup = path.with_name(f".{path.name}.swp"), path.with_name("4913"), path.with_name(f"{path.name}~")
    _plain(swap, "swap")
    _plain(probe, "")
    probe.unlink()
    path.rename(backup)
    _plain(path, text)
    backup.unlink()
    swap.unlink()


def _jetbrains(path: Path, text: str) -> None:
    new, old = path.with_name(f"{path.name}___jb_tmp___"), path.with_name(f"{path.name}___jb_old___")
    _plain(new, text)
    path.rename(old)
    new.rename(path)
    old.unlink()


def _emacs(path: Path, text: str) -> None:
    lock, auto = path.with_name(f".#{path.name}"), path.with_name(f"#{path.name}#")
    lock.symlink_to("me@host.1:2")
    _plain(auto, text)
    _plain(path, text)
    auto.unlink()
    lock.unlink()


@pytest.mark.parametrize("save", [_plain, _atomic, _vim, _jetbrains, _emacs])
@pytest.mark.parametrize("kind", ["git", "folder"])
async def test_each_way_of_saving_is_one_change(
    repo: Kit, folder: Kit, save: Callable[[Path, str], None], kind: str
) -> None:
    """However an editor saves, exactly the saved file has changed, again and again."""
    kit, root = (repo, repo.root) if kind == "git" else (folder, folder.folder())
    async with kit.watching(root) as watch:
        for text in ("1", "2"):
            save(kit.root / "modules/a.nix", text)
            assert await watch.next() == kit.paths("modules/a.nix")


def _touch(path: Path) -> None:
    path.touch()


def _same(path: Path) -> None:
    path.write_bytes(path.read_bytes())


def _same_by_rename(path: Path) -> None:
    _atomic(path, path.read_text(encoding="utf-8"))


def _revert(path: Path) -> None:
    before = path.read_bytes()
    path.write_bytes(b"other")
    path.write_bytes(before)


def _group_writable(path: Path) -> None:
    path.chmod(0o664)


def _delete_and_restore(path: Path) -> None:
    before = path.read_bytes()
    path.unlink()
    path.write_bytes(before)


@pytest.mark.parametrize("action", [_touch, _same, _same_by_rename, _revert, _group_writable, _delete_and_restore])
@pytest.mark.parametrize("kind", ["git", "folder"])
async def test_the_same_content_is_no_change(repo: Kit, folder: Kit, action: Callable[[Path], None], kind: str) -> None:
    """A file that is as it was starts nothing, be it clean, modified or never read before."""
    kit, root = (repo, repo.root) if kind == "git" else (folder, folder.folder())
    kit.write(kit.root, "modules/a.nix", text="modified before the start")
    async with kit.watching(root) as watch:
        action(kit.root / "modules/a.nix")
        action(kit.root / "flake.nix")
        kit.write(kit.root, "marker.nix", text="seen")
        assert await watch.next() == kit.paths("marker.nix")


@pytest.mark.parametrize("kind", ["git", "folder"])
async def test_what_nix_sees_beside_the_bytes_counts(repo: Kit, folder: Kit, kind: str) -> None:
    """The executable bit, a link's target and a deletion are changes."""
    kit, root = (repo, repo.root) if kind == "git" else (folder, folder.folder())
    (kit.root / "link").symlink_to("flake.nix")
    if kind == "git":
        kit.commit(kit.root)
    async with kit.watching(root) as watch:
        (kit.root / "modules/a.nix").chmod(0o755)
        assert await watch.next() == kit.paths("modules/a.nix")
        (kit.root / "link").unlink()
        (kit.root / "link").symlink_to("marker.nix")
        assert await watch.next() == kit.paths("link")
        (kit.root / "modules/a.nix").unlink()
        assert await watch.next() == kit.paths("modules/a.nix")


async def test_a_file_that_cannot_be_read_is_known_by_its_time(folder: Kit) -> None:
    """A socket in the folder is passed over, a change beside it is seen."""
    os.mkfifo(folder.root / "modules/pipe")
    async with folder.watching(folder.folder()) as watch:
        assert watch.watched.files == 3
        os.mkfifo(folder.root / "modules/another")
        folder.write(folder.root, "modules/a.nix", text="1")
        assert await watch.next() == folder.paths("modules/a.nix")


async def test_a_name_that_is_not_text_does_not_end_the_watch(folder: Kit) -> None:
    """A file name that is not UTF-8 makes watchfiles give up; the watcher listens anew and misses nothing."""
    async with folder.watching(folder.folder()) as watch:
        odd = os.fsencode(folder.root) + b"/modules/\xff.nix"
        with open(odd, "wb") as file:  # noqa: ASYNC230, PTH123  # pathlib would take the bytes only decoded
            file.write(b"1")
        assert {os.fsencode(path) for path in await watch.next()} == {odd}
        folder.write(folder.root, "modules/a.nix", text="1")
        assert await watch.next() == folder.paths("modules/a.nix")


@pytest.mark.parametrize("kind", ["git", "folder"])
async def test_cancelling_loses_nothing(repo: Kit, folder: Kit, kind: str) -> None:
    """Whenever a waiting `next` is cancelled, the following one has the change all the same."""
    kit, root = (repo, repo.root) if kind == "git" else (folder, folder.folder())
    async with kit.watching(root) as watch:
        for number in range(12):
            kit.write(kit.root, "modules/a.nix", text=str(number))
            waiting = asyncio.create_task(watch.watcher.next())
            await asyncio.sleep(number * 0.008)
            waiting.cancel()
            outcomes = await asyncio.gather(waiting, return_exceptions=True)
            if isinstance(outcomes[0], asyncio.CancelledError):
                assert await watch.next() == kit.paths("modules/a.nix")
