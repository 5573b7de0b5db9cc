from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from nixvm_loop.files import link_atomic, read_json, write_atomic, write_json

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    """The new content is there with mode 0600 whatever the umask, and nothing else is left in the folder."""
    path = tmp_path / "file"
    path.write_text("old")
    before = os.umask(0)
    try:
        write_atomic(path, "new")
    finally:
        os.umask(before)
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path: Path) -> None:
    """What cannot be encoded is an error; the file is as it was."""
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "\udc80")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_even_if_it_dangles(tmp_path: Path) -> None:
    """The link points at the new target in one step."""
    link = tmp_path / "link"
    link.symlink_to("nowhere")
    link_atomic(link, "elsewhere")
    assert str(link.readlink()) == "elsewhere"
    assert list(tmp_path.iterdir()) == [link]


def test_json_comes_back_and_anything_else_is_named(tmp_path: Path) -> None:
    """An object round-trips; no file is None; other content is a ValueError with the path."""
    path = tmp_path / "file.json"
    assert read_json(path) is None
    write_json(path, {"a": 1})
    assert read_json(path) == {"a": 1}
    for content in ("[]", "{"):
        path.write_text(content)
        with pytest.raises(ValueError, match=r"file\.json"):
            read_json(path)
