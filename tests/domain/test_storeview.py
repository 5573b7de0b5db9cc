from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from nixvm_loop.domain import storeview
from nixvm_loop.domainxml import HostStore
from nixvm_loop.errors import DomainError

if TYPE_CHECKING:
    from pathlib import Path


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
    await storeview.remove(store, tmp_path / "view")
    (tmp_path / "view").mkdir()
    (tmp_path / "view/other").touch()
    await storeview.remove(store, tmp_path / "view")
    assert (tmp_path / "view/other").exists()


async def test_a_place_that_cannot_be_made(store: Path, tmp_path: Path) -> None:
    """A file in the way is named."""
    (tmp_path / "in-the-way").touch()
    with pytest.raises(DomainError, match="in-the-way"):
        await storeview.ensure(store, tmp_path / "in-the-way" / "view")
