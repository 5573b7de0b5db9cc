"""The pure parts, for all inputs."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixvm_loop.watch.content import content_id
from nixvm_loop.watch.ears import came_or_went, surviving
from nixvm_loop.watch.gittree import parents
from nixvm_loop.watch.ignore import DROPPINGS, IgnoreRules
from nixvm_loop.watch.ledger import Ledger
from nixvm_loop.watch.settle import Work, quiet_for

if TYPE_CHECKING:
    from pathlib import Path

_NAMES = st.sampled_from(["a", "b", "c.nix", "d~", "keep"])
_PATHS = st.lists(_NAMES, min_size=1, max_size=4).map("/".join)
_CONTENTS = st.none() | st.sampled_from(["1", "2", "3"])


@given(st.dictionaries(_PATHS, _CONTENTS), st.lists(st.tuples(_PATHS, _CONTENTS)), st.integers(0, 30))
def test_the_ledger_says_what_differs_since_it_was_last_asked(
    start: dict[str, str | None], steps: list[tuple[str, str | None]], asked_after: int
) -> None:
    """Whatever happens in whatever order, exactly the paths are taken whose content is another than when last taken."""
    now, ledger = dict(start), Ledger()
    handed_out = dict(now)
    for number, (path, content) in enumerate(steps):
        ledger.note(path, now.get(path), content)
        now[path] = content
        if number == asked_after:
            ledger.take()
            handed_out = dict(now)
    assert ledger.take() == {path for path in now if now[path] != handed_out.get(path)}
    assert ledger.take() == frozenset()


@given(st.lists(st.sampled_from(["a/", "*.nix", "/b", "d~", "a/b/", "!keep", "!c.nix"])), _PATHS, _NAMES)
def test_nothing_in_an_ignored_directory_counts(patterns: list[str], directory: str, name: str) -> None:
    """Leaving out whole directories gives the same as asking for each file: no pattern brings one of them back."""
    rules = IgnoreRules(*patterns)
    if rules.ignores_directory(directory):
        assert rules.ignores(f"{directory}/{name}")
        assert rules.ignores_directory(f"{directory}/{name}")


@given(st.frozensets(_PATHS), st.frozensets(_PATHS))
def test_what_survives_has_nothing_gone_above_it(armed: frozenset[str], gone: frozenset[str]) -> None:
    """Directories are dropped with everything below them, and no others."""
    armed, gone = frozenset(f"/r/{path}" for path in armed), frozenset(f"/r/{path}" for path in gone)
    lost = {path for path in armed for top in gone if path == top or path.startswith(f"{top}/")}
    assert surviving(armed, gone) == armed - lost


@given(st.lists(_PATHS))
def test_parents_are_all_directories_above(paths: list[str]) -> None:
    """Every prefix that ends before a slash is there, the root is not."""
    assert parents(paths) == {path[:end] for path in paths for end, letter in enumerate(path) if letter == "/"}


@pytest.mark.parametrize(
    "name",
    [
        ".flake.nix.swp", ".x.swo", "flake.nix~", "4913", "#flake.nix#", ".#flake.nix", "flake.nix___jb_tmp___",
        "flake.nix___jb_old___", ".goutputstream-X1Y2", "half.tmp", ".flake.nix.kate-swp", ".~lock.notes.odt#",
    ],
)  # fmt: skip
def test_editors_droppings_are_ignored_at_any_depth(name: str) -> None:
    """What editors leave beside files does not count; the files do."""
    rules = IgnoreRules(*DROPPINGS)
    assert rules.ignores(name)
    assert rules.ignores(f"modules/deep/{name}")
    assert not rules.ignores("modules/deep/flake.nix")


@pytest.mark.parametrize("name", ["flake.nix", "swp.nix", "result", "x.sw", "4913.nix", ".gitignore", "a.swf", "tmp"])
def test_what_only_resembles_a_dropping_counts(name: str) -> None:
    """Names that are close to editors' are people's own."""
    assert not IgnoreRules(*DROPPINGS).ignores(name)


def test_the_users_pattern_wins() -> None:
    """A file that is left out by default can be taken back."""
    assert not IgnoreRules(*DROPPINGS, "!*.tmp").ignores("half.tmp")


@given(st.floats(0.01, 5), st.integers(0, 20_000), st.sampled_from(Work))
def test_quiet_is_never_shorter_than_asked_for_and_grows(base_s: float, paths: int, work: Work) -> None:
    """More paths, or git at work, never shorten the wait."""
    quiet_s = quiet_for(base_s, paths, work)
    assert quiet_s >= base_s
    assert quiet_s >= quiet_for(base_s, paths // 2, work)
    assert quiet_s >= quiet_for(base_s, paths, Work.NONE)


def test_a_single_save_waits_only_for_the_quiet_asked_for() -> None:
    """The default of 40 ms is what one file costs; a checkout waits longer."""
    assert quiet_for(0.04, 1, Work.NONE) == 0.04
    assert quiet_for(0.04, 5000, Work.NONE) > 0.2


def test_writing_is_neither_coming_nor_going() -> None:
    """Of watchfiles' three kinds, the second says nothing about names."""
    assert came_or_went({(1, "/new"), (2, "/written"), (3, "/gone")}) == {"/new", "/gone"}


@pytest.mark.parametrize("size", [0, 1, 70_000, 3 << 20])
@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_content_ids_are_gits(tmp_path: Path, size: int, algorithm: str) -> None:
    """The id of a file is the one that git gives it."""
    file = tmp_path / "file"
    file.write_bytes(bytes(number % 251 for number in range(size)))
    subprocess.run(["git", "init", "-q", f"--object-format={algorithm}", tmp_path], check=True)
    git = subprocess.run(["git", "-C", tmp_path, "hash-object", file], check=True, capture_output=True, text=True)
    assert content_id(str(file), algorithm) == f"100644 {git.stdout.strip()}"
