from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from nixvm_loop.domain import storeview
from nixvm_loop.domainxml import HostStore
from nixvm_loop.errors import DomainError
from tests.checkout import PYTHONPATH

if TYPE_CHECKING:
    from pathlib import Path


async def unused() -> bool:
    return False


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


def test_another_folder_is_no_view(store: Path, tmp_path: Path) -> None:
    """Neither a folder of that name, nor the store itself when it can be written to, nor nothing at all."""
    view = tmp_path / "view"
    assert not storeview.is_there(store, view)
    view.mkdir()
    assert not storeview.is_there(store, view)
    assert not storeview.is_there(store, store)


def test_who_may_not_mount_gets_the_store(monkeypatch: pytest.MonkeyPatch, store: Path, tmp_path: Path) -> None:
    """Only root can make a view; others share the store as it is, which can be changed."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert storeview.available(store, tmp_path / "view") == HostStore(str(store))


async def test_nothing_is_removed_where_nothing_is(store: Path, tmp_path: Path) -> None:
    """`delete` on a host without a view does not fail, and takes nobody else's folder away."""
    await storeview.remove(unused, store, tmp_path / "view")
    (tmp_path / "view").mkdir()
    (tmp_path / "view/other").touch()
    await storeview.remove(unused, store, tmp_path / "view")
    assert (tmp_path / "view/other").exists()


async def test_a_place_that_cannot_be_made(store: Path, tmp_path: Path) -> None:
    """A file in the way is named."""
    (tmp_path / "in-the-way").touch()
    with pytest.raises(DomainError, match="in-the-way"):
        async with storeview.provided(store, tmp_path / "in-the-way" / "view"):
            pass


async def test_one_at_a_time(tmp_path: Path) -> None:
    """Who waits while the view is removed, and who comes after that, keep each other out all the same."""
    view = tmp_path / "run/view"
    inside, most = 0, 0

    async def enter() -> None:
        nonlocal inside, most
        async with storeview._alone(view):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.1)
            inside -= 1

    async with storeview._alone(view):
        waiting = asyncio.create_task(enter())
        await asyncio.sleep(0.05)
        storeview._remove_place(view)
    await asyncio.gather(waiting, enter())
    assert most == 1


# Run in a mount namespace of its own; the store can be written to.
SCRIPT = """
import asyncio, os, sys
from pathlib import Path
from nixvm_loop.domain import storeview
store, view = Path(sys.argv[1]), Path(sys.argv[2])
def mounts():
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return ["ro" in line[5].split(",") for line in lines if line[4] == str(view)]
async def used(): return True
async def unused(): return False
"""


def in_a_namespace(store: Path, view: Path, script: str) -> None:
    """Run what follows SCRIPT where mounts are nobody else's."""
    argv = ["unshare", "--mount", sys.executable, "-c", SCRIPT + textwrap.dedent(script), str(store), str(view)]
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("NOT CHECKED: no mounts can be made here")
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": PYTHONPATH}
    )
    assert done.returncode == 0, done.stderr


def test_made_once_and_removed_when_nobody_uses_it(store: Path, tmp_path: Path) -> None:
    """Read-only from the start, one mount for all, which stays while somebody says that it is used."""
    in_a_namespace(
        store,
        tmp_path / "run/view",
        """
        async def work():
            for _ in range(2):
                async with storeview.provided(store, view):
                    assert mounts() == [True]
            assert storeview.is_there(store, view)
            await storeview.remove(used, store, view)
            assert mounts() == [True]
            await storeview.remove(unused, store, view)
            assert mounts() == [] and not view.exists()
        asyncio.run(work())
        """,
    )


def test_what_a_kill_left_writable(store: Path, tmp_path: Path) -> None:
    """A view that was bound and not made read-only is no view; it is made one, without another mount, or removed."""
    in_a_namespace(
        store,
        tmp_path / "run/view",
        """
        async def work():
            for end in (storeview.provided, None):
                view.mkdir(parents=True, exist_ok=True)
                os.spawnlp(os.P_WAIT, "mount", "mount", "--bind", str(store), str(view))
                assert mounts() == [False] and not storeview.is_there(store, view)
                if end is not None:
                    async with end(store, view):
                        assert mounts() == [True]
                await storeview.remove(unused, store, view)
                assert mounts() == []
        asyncio.run(work())
        """,
    )


def test_it_is_not_removed_from_under_a_domain_that_is_being_defined(store: Path, tmp_path: Path) -> None:
    """Users are looked for while nobody can become one: who removes it waits, and then sees the new one."""
    in_a_namespace(
        store,
        tmp_path / "run/view",
        """
        async def work():
            defined = []
            async def is_used():
                return bool(defined)
            async def define():
                async with storeview.provided(store, view):
                    await asyncio.sleep(0.2)
                    defined.append("new")
            defining = asyncio.create_task(define())
            await asyncio.sleep(0.1)
            await storeview.remove(is_used, store, view)
            await defining
            assert mounts() == [True]
        asyncio.run(work())
        """,
    )


def test_a_link_is_no_view(store: Path, tmp_path: Path) -> None:
    """Else the store itself would be unmounted."""
    view = tmp_path / "view"
    view.symlink_to(store)
    assert not storeview._shows(store, view)
