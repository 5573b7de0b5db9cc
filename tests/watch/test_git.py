"""Git's tracked files are the flake's; the index decides."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from nixvm_loop.errors import UsageError
from nixvm_loop.model.settings import WatchSettings
from nixvm_loop.model.sources import SourceKind, SourceRoot

if TYPE_CHECKING:
    from pathlib import Path

    from tests.watch.conftest import Kit, Watch


async def _only_the_marker(kit: Kit, watch: Watch) -> None:
    kit.write(kit.root, "marker.nix", text="seen")
    assert await watch.next() == kit.paths("marker.nix")


async def test_adding_and_removing_change_the_set(repo: Kit) -> None:
    """`git add`, `git add -N` and `git rm --cached` are changes of what the flake can see."""
    repo.write(repo.root, "new.nix", "deep/er/newer.nix")
    async with repo.watching(repo.root) as watch:
        assert watch.watched.files == 4
        repo.git(repo.root, "add", "new.nix")
        assert await watch.next() == repo.paths("new.nix")
        repo.git(repo.root, "add", "-N", "deep/er/newer.nix")
        assert await watch.next() == repo.paths("deep/er/newer.nix")
        repo.write(repo.root, "deep/er/newer.nix", text="1")
        assert await watch.next() == repo.paths("deep/er/newer.nix")
        repo.git(repo.root, "rm", "-q", "--cached", "new.nix")
        assert await watch.next() == repo.paths("new.nix")


async def test_git_at_work_is_no_change(repo: Kit) -> None:
    """Status, staging a change that was seen, and committing leave the contents as they are."""
    async with repo.watching(repo.root) as watch:
        repo.write(repo.root, "flake.nix", text="1")
        assert await watch.next() == repo.paths("flake.nix")
        (repo.root / "modules/a.nix").touch()
        repo.git(repo.root, "status")
        repo.git(repo.root, "add", "flake.nix")
        repo.git(repo.root, "commit", "-qm", "next")
        await _only_the_marker(repo, watch)


async def test_untracked_and_ignored_files_start_nothing(repo: Kit) -> None:
    """A new file that git does not track is told of, once and only if it is a Nix file that git does not ignore."""
    repo.write(repo.root, ".gitignore", text="ignored/\n")
    repo.commit(repo.root)
    async with repo.watching(repo.root) as watch:
        repo.write(repo.root, "new.txt", "new.nix", "ignored/no.nix", "result.tmp", ".#lock.nix")
        await watch.until(lambda said: said.untracked == [repo.root / "new.nix"])
        repo.write(repo.root, "dir/sub/one.nix")
        await watch.until(lambda said: said.untracked[1:] == [repo.root / "dir/sub/one.nix"])
        repo.write(repo.root, "dir/sub/two.nix", "new.nix", text="1")
        await watch.until(lambda said: said.untracked[2:] == [repo.root / "dir/sub/two.nix"])
        await _only_the_marker(repo, watch)


async def test_settings_ignore_tracked_files(repo: Kit) -> None:
    """What the user ignores starts nothing although git tracks it; a later pattern wins."""
    repo.write(repo.root, "docs/a.md", "docs/keep.md", "notes.md")
    repo.commit(repo.root)
    settings = WatchSettings(ignore=("*.md", "!keep.md"))
    async with repo.watching(repo.root, settings=settings) as watch:
        repo.write(repo.root, "docs/a.md", "notes.md", text="1")
        await _only_the_marker(repo, watch)
        repo.write(repo.root, "docs/keep.md", text="1")
        assert await watch.next() == repo.paths("docs/keep.md")


async def test_a_linked_worktree_has_its_own_index(repo: Kit) -> None:
    """In a worktree made by `git worktree`, where `.git` is a file, saves and `git add` are seen."""
    tree = repo.root.parent / "linked"
    repo.git(repo.root, "worktree", "add", "-q", str(tree))
    async with repo.watching(tree) as watch:
        repo.write(tree, "flake.nix", text="1")
        assert await watch.next() == {tree / "flake.nix"}
        repo.write(tree, "new.nix")
        repo.git(tree, "add", "new.nix")
        assert await watch.next() == {tree / "new.nix"}


@pytest.fixture
def library(repo: Kit, tmp_path: Path) -> Path:
    """Another repository, for use as a submodule."""
    root = tmp_path / "library"
    repo.write(root, "lib.nix", "old.nix")
    repo.git(root, "init", "-q")
    repo.commit(root)
    return root


async def test_submodules_count_only_if_the_flake_uses_them(repo: Kit, library: Path) -> None:
    """A save in a submodule is a change for a flake with submodules, and none for one without."""
    repo.git(repo.root, "submodule", "-q", "add", str(library), "sub")
    repo.commit(repo.root)
    async with repo.watching(repo.root) as watch:
        repo.write(repo.root, "sub/lib.nix", text="1")
        await _only_the_marker(repo, watch)
    async with repo.watching(SourceRoot(repo.root, SourceKind.GIT, submodules=True)) as watch:
        assert watch.watched.files == 7
        repo.write(repo.root, "sub/lib.nix", text="2")
        assert await watch.next() == repo.paths("sub/lib.nix")
        repo.git(repo.root / "sub", "rm", "-q", "--cached", "old.nix")
        assert await watch.next() == repo.paths("sub/old.nix")


async def test_submodules_come_and_go(repo: Kit, library: Path) -> None:
    """A submodule that is added or removed while watching changes the set by its files."""
    async with repo.watching(SourceRoot(repo.root, SourceKind.GIT, submodules=True)) as watch:
        repo.git(repo.root, "submodule", "-q", "add", str(library), "sub")
        wanted = repo.paths(".gitmodules", "sub/lib.nix", "sub/old.nix")
        seen: set[Path] = set()
        while not wanted <= seen:
            seen |= await watch.next()
        assert seen == wanted
        repo.write(repo.root, "sub/lib.nix", text="1")
        assert await watch.next() == repo.paths("sub/lib.nix")
        repo.git(repo.root, "rm", "-qf", "sub")
        seen = set()
        while not wanted <= seen:
            seen |= await watch.next()


def _branch_with(repo: Kit, name: str, files: list[str]) -> None:
    """Make a branch that has more files than this one, without writing them."""
    blob = repo.git(repo.root, "rev-parse", "HEAD:flake.nix").strip()
    repo.git(repo.root, "update-index", "--index-info", stdin="".join(f"100644 {blob}\t{path}\n" for path in files))
    tree = repo.git(repo.root, "write-tree").strip()
    repo.git(repo.root, "branch", name, repo.git(repo.root, "commit-tree", "-p", "HEAD", "-m", "many", tree).strip())
    repo.git(repo.root, "reset", "-q", "--hard")


async def test_a_checkout_of_ten_thousand_files_is_one_change_set(repo: Kit) -> None:
    """A branch that differs in 10,000 files, in new directories too, comes as one change set; then nothing is left."""
    files = [f"many/{number % 100}/{number}.nix" for number in range(10_000)]
    _branch_with(repo, "many", files)
    async with repo.watching(repo.root) as watch:
        for branch in ("many", "main"):
            checkout = asyncio.create_task(asyncio.to_thread(repo.git, repo.root, "checkout", "-q", branch))
            assert await watch.next() == repo.paths(*files)
            await checkout
        await _only_the_marker(repo, watch)


async def test_the_lock_of_the_index_is_waited_for(repo: Kit) -> None:
    """What is saved while git holds the index's lock is one change set with what follows, once the lock is gone."""
    lock = repo.root / ".git/index.lock"
    async with repo.watching(repo.root) as watch:
        lock.touch()
        repo.write(repo.root, "flake.nix", text="1")
        waiting = asyncio.create_task(watch.next())
        await asyncio.sleep(0.5)
        assert not waiting.done()
        repo.write(repo.root, "modules/b.nix", text="1")
        lock.unlink()
        assert await waiting == repo.paths("flake.nix", "modules/b.nix")


async def test_a_lock_left_behind_delays_nothing(repo: Kit) -> None:
    """An old lock, left by a git that crashed, is not waited for."""
    lock = repo.root / ".git/index.lock"
    lock.touch()
    os.utime(lock, (1, 1))
    async with repo.watching(repo.root) as watch:
        repo.write(repo.root, "flake.nix", text="1")
        async with asyncio.timeout(5):
            assert await watch.next() == repo.paths("flake.nix")


async def test_the_state_at_the_start_is_the_baseline(repo: Kit) -> None:
    """Modified, staged, half-staged, deleted and conflicting files at the start are no changes when touched."""
    repo.git(repo.root, "checkout", "-q", "-b", "other")
    repo.write(repo.root, "flake.nix", text="theirs")
    repo.commit(repo.root)
    repo.git(repo.root, "checkout", "-q", "main")
    repo.write(repo.root, "flake.nix", text="ours")
    repo.commit(repo.root)
    with pytest.raises(Exception, match="returned non-zero"):
        repo.git(repo.root, "merge", "other")
    repo.write(repo.root, "modules/a.nix", text="staged")
    repo.git(repo.root, "add", "modules/a.nix")
    repo.write(repo.root, "modules/a.nix", text="and edited")
    (repo.root / "modules/b.nix").unlink()
    async with repo.watching(repo.root) as watch:
        for path in ("flake.nix", "modules/a.nix"):
            (repo.root / path).touch()
        repo.git(repo.root, "status")
        await _only_the_marker(repo, watch)


async def test_a_sha256_repository_has_longer_ids(repo: Kit, tmp_path: Path) -> None:
    """The ids of files follow the repository's own hash function."""
    root = tmp_path / "long"
    repo.write(root, "flake.nix", "marker.nix")
    repo.git(root, "init", "-q", "--object-format=sha256")
    repo.commit(root)
    async with repo.watching(root) as watch:
        (root / "flake.nix").touch()
        repo.write(root, "marker.nix", text="seen")
        assert await watch.next() == {root / "marker.nix"}


async def test_a_root_outside_of_git_is_refused(repo: Kit, tmp_path: Path) -> None:
    """A root that git does not know ends the start with git's own words."""
    (tmp_path / "bare").mkdir()
    with pytest.raises(UsageError, match="git cannot read") as caught:
        async with repo.watching(tmp_path / "bare"):
            pass
    assert "not a git repository" in "".join(caught.value.details)
