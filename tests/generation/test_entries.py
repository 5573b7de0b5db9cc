from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot

from nixvm_loop.errors import GenerationError
from nixvm_loop.generation.entries import entries, problems
from nixvm_loop.generation.listing import Marks, listed
from nixvm_loop.generation.store import Generations
from nixvm_loop.model.values import Artifacts, Generation

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
PARTS = ("toplevel", "kernel", "initrd", "cmdline", "generation.json")
ABOUT = {"created": "2026-11-23T07:58:00+00:00", "verdict": "ok", "changes": ["/a.nix"], "cycle": 4, "dirty": True}


def add(generations: Generations) -> Generation:
    slot = generations.slot()
    top = generations.state_dir / "store" / f"system-{slot.number}"
    top.mkdir(parents=True)
    for name in ("kernel", "initrd"):
        (top / name).write_text(name)
    slot.root.symlink_to(top)
    built = Artifacts(top, top / "kernel", top / "initrd", ("quiet",), "label")
    return generations.write(slot, built, f"init={top}/init quiet", ABOUT)


@pytest.fixture
def generations(tmp_path: Path) -> Generations:
    generations = Generations(tmp_path)
    generations.prepare()
    return generations


def damage(path: Path, how: str) -> None:
    """Do to a part of a generation what hands and disks do."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    match how:
        case "folder":
            path.mkdir()
        case "garbage":
            path.write_bytes(b"\xff\x00[")
        case "empty":
            path.touch()
        case "elsewhere":
            path.symlink_to("/nowhere")
        case "itself":
            path.symlink_to(path.name)
        case "nested":
            path.write_text("[" * 100_000)
        case "other":
            path.write_text('{"number": "x", "toplevel": 7, "verdict": "ok"}')
        case _:
            pass  # gone


DAMAGES = ("gone", "folder", "garbage", "empty", "elsewhere", "itself", "nested", "other")


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("part", PARTS)
def test_damage_to_any_part_is_named(generations: Generations, part: str, how: str) -> None:
    """Whatever is done to whichever part: the generation is listed as not whole, the others as they were."""
    whole, broken = add(generations), add(generations)
    damage(broken.directory / part, how)
    first, second = entries(generations)
    assert (first.generation, first.problem) == (whole, None)
    assert second.generation is None
    assert second.problem is not None
    assert second.problem.startswith(("damaged: ", "unfinished: "))


def test_how_damage_is_put(generations: Generations) -> None:
    """The words say which part, and what is wrong with it."""
    made = [add(generations) for _ in range(7)]
    damage(made[0].directory / "kernel", "gone")
    damage(made[1].directory / "initrd", "garbage")
    damage(made[2].directory / "cmdline", "gone")
    damage(made[3].directory / "cmdline", "garbage")
    damage(made[4].directory / "generation.json", "gone")
    shutil.rmtree(made[5].toplevel)
    damage(made[6].directory / "toplevel", "elsewhere")
    said = "\n".join(str(entry.problem) for entry in entries(generations))
    assert said.replace(str(generations.state_dir), "STATE") == snapshot("""\
damaged: its kernel is missing
damaged: its initrd is not a link
damaged: its cmdline is missing
damaged: its cmdline is not text
unfinished: no generation.json; a build is under way, or one was cut short
damaged: gone from the store: STATE/store/system-6, STATE/store/system-6/kernel, STATE/store/system-6/initrd
damaged: its toplevel is /nowhere, but generation.json says STATE/store/system-7\
""")


@given(
    work=st.lists(st.tuples(st.integers(0, 3), st.sampled_from(("", *PARTS)), st.sampled_from(DAMAGES)), max_size=6),
    outside=st.lists(
        st.tuples(
            st.sampled_from(("current", "kernel-current", "generations", "generations/9")), st.sampled_from(DAMAGES)
        ),
        max_size=2,
    ),
)
def test_no_damage_is_a_bug(work: list[tuple[int, str, str]], outside: list[tuple[str, str]]) -> None:
    """After any damage to any parts, every way of reading and mending ends, and at worst with a GenerationError."""
    with tempfile.TemporaryDirectory() as folder:
        generations = Generations(Path(folder) / "state")
        generations.prepare()
        made = [add(generations) for _ in range(4)]
        generations.flip(made[2])
        for index, part, how in work:
            if made[index].directory.is_dir() or not part:
                damage(made[index].directory / part, how)
        for name, how in outside:
            if (generations.state_dir / name).parent.is_dir():
                damage(generations.state_dir / name, how)
        for reading in (
            lambda: entries(generations),
            lambda: problems(generations),
            lambda: listed(entries(generations), Marks(1, 2, 3, 3, 4), NOW),
            generations.newest_number,
            generations.current,
            generations.last_good,
            lambda: generations.number_of("/nowhere"),
            generations.prepare,
            generations.slot,
            lambda: generations.prune(1, None),
            lambda: generations.annotate(2, {"verdict": "ok"}),
            lambda: entries(generations),
        ):
            with suppress(GenerationError):
                reading()


def test_problems_beside_the_generations(generations: Generations, tmp_path: Path) -> None:
    """Named are a foreign file, a fixed link that was changed, and a `current` that leads to no generation."""
    generation = add(generations)
    generations.flip(generation)
    assert problems(generations) == ()
    (generations.folder / "notes").touch()
    generations.initrd_link.unlink()
    assert problems(generations) == (
        f"{tmp_path}/initrd-current does not name current/initrd; the next cycle sets it right",
        f"{tmp_path}/generations/notes is not a generation's folder; it is left alone",
    )
    generations.prepare()
    (generations.folder / "notes").unlink()
    generations.discard(1)
    assert problems(generations) == (f"{tmp_path}/current names generation 1, which is not there",)
    damage(tmp_path / "current", "elsewhere")
    assert problems(generations) == (f"{tmp_path}/current names /nowhere, not a generation",)
    damage(tmp_path / "current", "folder")
    assert problems(generations) == (f"{tmp_path}/current is no link, not a generation",)


def test_a_state_directory_that_is_not_there_has_nothing(tmp_path: Path) -> None:
    """Before the first cycle there is nothing to list and nothing wrong."""
    nothing = Generations(tmp_path / "none")
    assert entries(nothing) == ()
    assert problems(nothing) == ()


def test_listed_generations(generations: Generations) -> None:
    """The newest first, with their ages and what they are; what generation.json says wrongly is left open."""
    for _ in range(2):
        add(generations)
    strange = {"created": "soon", "verdict": "fine", "action": 3, "changes": ["/b", 7], "cycle": True, "dirty": "no"}
    generations.annotate(2, strange)
    newest, oldest = listed(entries(generations), Marks(built=2, current=1, booted=1, runs=1, last_good=None), NOW)
    assert (oldest.number, oldest.age_seconds, oldest.created) == (1, 120.0, "2026-11-23T07:58:00Z")
    assert (oldest.verdict, oldest.action, oldest.changes, oldest.cycle) == ("ok", None, ("/a.nix",), 4)
    assert (oldest.built, oldest.current, oldest.booted, oldest.last_good) == (False, True, True, False)
    assert (newest.number, newest.created, newest.age_seconds, newest.verdict) == (2, None, None, None)
    assert (newest.action, newest.changes, newest.cycle, newest.dirty, newest.built) == (
        None,
        ("/b",),
        None,
        None,
        True,
    )
