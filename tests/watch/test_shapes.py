"""Trees that move, vanish, come back and grow keep being watched."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nixvm_loop.errors import UsageError
from nixvm_loop.events.types import Notice
from nixvm_loop.model.settings import WatchSettings

if TYPE_CHECKING:
    from pathlib import Path

    from nixvm_loop.model.sources import SourceRoot
    from tests.watch.conftest import Kit


@pytest.fixture(params=["git", "folder"])
def kit(request: pytest.FixtureRequest) -> Kit:
    """The same flake in git and outside of it."""
    name = {"git": "repo", "folder": "folder"}[request.param]
    found: Kit = request.getfixturevalue(name)
    return found


def _source(kit: Kit) -> SourceRoot | Path:
    return kit.root if (kit.root / ".git").exists() else kit.folder()


async def test_nested_directories_made_at_once_are_seen(folder: Kit) -> None:
    """Files in directories that nobody could listen to yet are found, and saves to them are seen later."""
    async with folder.watching(folder.folder()) as watch:
        folder.write(folder.root, "x/y/z/deep.nix")
        assert await watch.next() == folder.paths("x/y/z/deep.nix")
        folder.write(folder.root, "x/y/z/deep.nix", text="1")
        assert await watch.next() == folder.paths("x/y/z/deep.nix")


async def test_a_directory_that_is_replaced_keeps_being_watched(kit: Kit) -> None:
    """A subdirectory is deleted and made again, then moved away and back."""
    async with kit.watching(_source(kit)) as watch:
        files = [path.relative_to(kit.root).as_posix() for path in (kit.root / "modules").iterdir()]
        shutil.rmtree(kit.root / "modules")
        assert await watch.next() == kit.paths(*files)
        kit.write(kit.root, *files)
        assert await watch.next() == kit.paths(*files)
        kit.write(kit.root, "modules/a.nix", text="1")
        assert await watch.next() == kit.paths("modules/a.nix")
        (kit.root / "modules").rename(kit.root / "aside")
        assert kit.paths(*files) <= await watch.next()
        (kit.root / "aside").rename(kit.root / "modules")
        assert kit.paths(*files) <= await watch.next()
        kit.write(kit.root, "modules/a.nix", text="2")
        assert await watch.next() == kit.paths("modules/a.nix")


async def test_a_moved_directory_reports_both_places(folder: Kit) -> None:
    """Where files were and where they are now have changed, and the new place is watched."""
    async with folder.watching(folder.folder()) as watch:
        (folder.root / "modules").rename(folder.root / "elsewhere")
        assert await watch.next() == folder.paths("modules/a.nix", "elsewhere/a.nix")
        folder.write(folder.root, "elsewhere/a.nix", text="1")
        assert await watch.next() == folder.paths("elsewhere/a.nix")


async def test_a_root_that_is_moved_away_and_back_stays_watched(kit: Kit) -> None:
    """Nothing is reported but what differs, and the tree is told to be gone in the meantime."""
    aside = kit.root.with_name("aside")
    async with kit.watching(_source(kit)) as watch:
        kit.root.rename(aside)
        await watch.until(lambda said: bool(said.events))
        (notice,) = watch.events
        assert isinstance(notice, Notice)
        assert "is gone" in notice.message
        kit.write(aside, "modules/a.nix", text="while away")
        aside.rename(kit.root)
        assert await watch.next() == kit.paths("modules/a.nix")
        kit.write(kit.root, "flake.nix", text="1")
        assert await watch.next() == kit.paths("flake.nix")


@pytest.mark.parametrize(
    ("part", "said", "hint"),
    [
        (".git", "{} is no git repository any more: saves there are not noticed", "when its .git is back"),
        (".git/index", "the git index of {} is gone", "git -C {} reset"),
    ],
)
async def test_a_repository_that_loses_what_makes_it_one(repo: Kit, part: str, said: str, hint: str) -> None:
    """The folder is still there, so that is not what is told; when git's part is back, saves meanwhile are seen."""
    aside = repo.root.with_name("aside")
    async with repo.watching(repo.root) as watch:
        (repo.root / part).rename(aside)
        await watch.until(lambda told: bool(told.events))
        (notice,) = watch.events
        assert isinstance(notice, Notice)
        assert notice.message == said.format(repo.root)
        assert hint.format(repo.root) in (notice.hint or "")
        repo.write(repo.root, "flake.nix", text="meanwhile")
        aside.rename(repo.root / part)
        assert await watch.next() == repo.paths("flake.nix")


async def test_a_root_that_is_deleted_and_made_again_stays_watched(kit: Kit) -> None:
    """The same files with one difference come back as that difference, and later saves are seen."""
    copy = kit.root.with_name("copy")
    shutil.copytree(kit.root, copy)
    async with kit.watching(_source(kit)) as watch:
        shutil.rmtree(kit.root)
        await watch.until(lambda said: bool(said.events))
        kit.write(copy, "modules/a.nix", text="other")
        copy.rename(kit.root)
        assert await watch.next() == kit.paths("modules/a.nix")
        kit.write(kit.root, "modules/a.nix", text="1")
        assert await watch.next() == kit.paths("modules/a.nix")


async def test_a_tree_that_takes_a_roots_place_is_watched(kit: Kit) -> None:
    """Another tree is moved over the root so quickly that it was never gone."""
    other = kit.root.with_name("other")
    shutil.copytree(kit.root, other)
    kit.write(other, "flake.nix", text="other")
    async with kit.watching(_source(kit)) as watch:
        kit.root.rename(kit.root.with_name("old"))
        other.rename(kit.root)
        assert await watch.next() == kit.paths("flake.nix")
        kit.write(kit.root, "modules/a.nix", text="1")
        assert await watch.next() == kit.paths("modules/a.nix")


async def test_a_clone_in_place_of_a_deleted_repository_is_watched(repo: Kit) -> None:
    """Deleting a checkout and cloning it again brings no spurious change, and saves are seen."""
    upstream = repo.root.with_name("upstream.git")
    repo.git(repo.root, "clone", "-q", "--bare", str(repo.root), str(upstream))
    async with repo.watching(repo.root) as watch:
        shutil.rmtree(repo.root)
        await watch.until(lambda said: bool(said.events))
        repo.git(repo.root.parent, "clone", "-q", str(upstream), str(repo.root))
        repo.write(repo.root, "flake.nix", text="1")
        assert await watch.next() == repo.paths("flake.nix")


async def test_a_moved_parent_is_noticed(kit: Kit) -> None:
    """Moving a directory above the root makes no event; the look at everything finds the tree gone, and back."""
    parent = kit.root.parent / "parent"
    parent.mkdir()
    kit.root.rename(parent / "flake")
    kit = replace(kit, root=parent / "flake")
    async with kit.watching(_source(kit)) as watch:
        parent.rename(parent.with_name("moved"))
        watch.watcher._miss("no need to wait for the clock")
        await watch.until(lambda said: bool(said.events))
        parent.with_name("moved").rename(parent)
        kit.write(kit.root, "flake.nix", text="1")
        assert await watch.next() == kit.paths("flake.nix")


async def test_a_root_behind_a_link_is_reported_by_its_name(kit: Kit) -> None:
    """Paths come under the name that was asked for."""
    link = kit.root.with_name("link")
    link.symlink_to(kit.root)
    kit = replace(kit, root=link)
    async with kit.watching(_source(kit)) as watch:
        kit.write(link, "modules/a.nix", text="1")
        assert await watch.next() == kit.paths("modules/a.nix")


async def test_lost_events_are_made_up_for(kit: Kit) -> None:
    """A change that no event told of is found by the look at everything, which comes by itself."""
    async with kit.watching(_source(kit)) as watch:
        await watch.watcher._ears.close()
        kit.write(kit.root, "modules/a.nix", text="1")
        if kit.root.name == "plain":
            watch.watcher._miss("no need to wait for the clock")
        assert await watch.next() == kit.paths("modules/a.nix")


async def test_a_folder_leaves_out_what_is_nobodys_work(folder: Kit) -> None:
    """Result links, git's and direnv's files, what the user ignores: none starts anything or is listened to."""
    settings = WatchSettings(ignore=("node_modules/", "*.log"))
    for name in ("node_modules", ".git", ".direnv"):
        folder.write(folder.root, f"{name}/deep/file.nix")
    async with folder.watching(folder.folder(), settings=settings) as watch:
        assert watch.watched.files == 3
        assert not [path for path in watch.watcher._forest.directories() if "deep" in path]
        (folder.root / "result").symlink_to("/nix/store/00000000000000000000000000000000-nixos")
        (folder.root / "result-dev").symlink_to("/nix/store/00000000000000000000000000000000-dev")
        folder.write(folder.root, "node_modules/deep/file.nix", ".git/index", "a.log", "flake.nix~")
        (folder.root / "result.nix").symlink_to("/nix/store/00000000000000000000000000000000-nixos")
        assert await watch.next() == folder.paths("result.nix")


async def test_paths_from_the_settings_are_watched(repo: Kit, tmp_path: Path) -> None:
    """Further folders and files count beside the flake, and are part of what is said to be watched."""
    other, single = tmp_path / "other", tmp_path / "elsewhere/single.nix"
    repo.write(other, "x/one.nix")
    repo.write(tmp_path, "elsewhere/single.nix", "elsewhere/not-asked-for.nix")
    async with repo.watching(repo.root, settings=WatchSettings(paths=(other, single))) as watch:
        assert watch.watched.roots == (repo.root, other, single)
        assert watch.watched.files == 6
        repo.write(tmp_path, "elsewhere/not-asked-for.nix", text="1")
        repo.write(other, "x/one.nix", text="1")
        assert await watch.next() == {other / "x/one.nix"}
        single.unlink()
        repo.write(tmp_path, "elsewhere/single.nix", text="1")
        assert await watch.next() == {single}


async def test_a_path_from_the_settings_may_be_a_link(repo: Kit, tmp_path: Path) -> None:
    """A link is followed to what it names."""
    link, target = tmp_path / "link.toml", tmp_path / "there/target.toml"
    repo.write(tmp_path, "there/target.toml")
    link.symlink_to(target)
    async with repo.watching(repo.root, settings=WatchSettings(paths=(link,))) as watch:
        repo.write(tmp_path, "there/target.toml", text="1")
        assert await watch.next() == {link}


async def test_a_missing_root_is_refused(repo: Kit, tmp_path: Path) -> None:
    """A root, or a path from the settings, that does not exist is the user's to mend."""
    missing = tmp_path / "no"
    for root, paths in ((repo.root, (missing,)), (missing, ())):
        with pytest.raises(UsageError, match="no does not exist") as caught:
            async with repo.watching(root, settings=WatchSettings(paths=paths)):
                pass
        assert caught.value.hint
