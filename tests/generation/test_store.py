from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nixvm_loop.errors import GenerationError
from nixvm_loop.generation.store import Generations
from nixvm_loop.model.values import Artifacts, Generation

if TYPE_CHECKING:
    from pathlib import Path


def artifacts(store: Path, name: str) -> Artifacts:
    top = store / f"{name}-system"
    for part in ("kernel", "initrd"):
        (store / f"{name}-{part}").mkdir(parents=True)
        (store / f"{name}-{part}" / part).write_text(name)
    top.mkdir()
    return Artifacts(top, store / f"{name}-kernel" / "kernel", store / f"{name}-initrd" / "initrd", ("quiet",), name)


def add(generations: Generations, built: Artifacts, cmdline: str = "init=/x quiet") -> Generation:
    slot = generations.slot()
    slot.root.symlink_to(built.toplevel)
    return generations.write(slot, built, cmdline, {})


@pytest.fixture
def generations(tmp_path: Path) -> Generations:
    generations = Generations(tmp_path / "state")
    generations.prepare()
    return generations


def test_a_flip_changes_kernel_and_initrd_together(generations: Generations, tmp_path: Path) -> None:
    """Both links resolve to the same generation before and after a flip, and follow `current` alone."""
    first = add(generations, artifacts(tmp_path / "store", "one"))
    second = add(generations, artifacts(tmp_path / "store", "two"))
    for generation, name in ((first, "one"), (second, "two")):
        generations.flip(generation)
        assert generations.kernel_link.read_text() == name
        assert generations.initrd_link.read_text() == name
        assert generations.current() == generation
    assert str(generations.kernel_link.readlink()) == "current/kernel"


def test_a_slot_without_a_generation_is_cleared_away(generations: Generations, tmp_path: Path) -> None:
    """What a crash left between build and completion is gone after the next start; its number is used again."""
    kept = add(generations, artifacts(tmp_path / "store", "one"))
    slot = generations.slot()
    slot.root.symlink_to(tmp_path)
    generations.prepare()
    assert not slot.directory.exists()
    assert generations.slot().number == slot.number
    assert generations.read(kept.number) == kept


def test_pruning_keeps_the_current_the_last_good_and_the_booted_one(generations: Generations, tmp_path: Path) -> None:
    """Beyond `keep`, only what is needed stays."""
    made = [add(generations, artifacts(tmp_path / "store", f"g{n}")) for n in range(8)]
    generations.flip(made[0])
    generations.annotate(made[1].number, {"verdict": "ok"})
    gone = generations.prune(keep=2, booted=made[2].number)
    assert gone == (6, 5, 4)
    assert [generations.read(n) is not None for n in range(1, 9)] == [True, True, True, False, False, False, True, True]


def test_what_was_booted_when_it_was_switched(generations: Generations, tmp_path: Path) -> None:
    """As it was noted; a booted generation that is damaged since is as good as none, its own damage is an error."""
    booted = add(generations, artifacts(tmp_path / "store", "one"))
    switched = add(generations, artifacts(tmp_path / "store", "two"))
    assert generations.switched_on(switched.number) is None
    generations.annotate(switched.number, {"action": "switch", "switched_on": booted.number})
    assert generations.switched_on(switched.number) == booted
    (booted.directory / "cmdline").write_text("init=/elsewhere\n")
    assert generations.switched_on(switched.number) is None
    (switched.directory / "generation.json").write_text("{")
    with pytest.raises(GenerationError):
        generations.switched_on(switched.number)


def test_a_half_deleted_generation_is_named(generations: Generations, tmp_path: Path) -> None:
    """A generation whose links were removed by hand is a GenerationError with its number, not a traceback."""
    generation = add(generations, artifacts(tmp_path / "store", "one"))
    (generation.directory / "kernel").unlink()
    with pytest.raises(GenerationError, match="generation 1 cannot be read"):
        generations.read(1)


def test_a_foreign_file_and_a_dangling_current_do_no_harm(generations: Generations, tmp_path: Path) -> None:
    """What does not belong there is left alone; a `current` that dangles counts as no current generation."""
    (generations.state_dir / "generations" / "notes.txt").write_text("mine")
    generation = add(generations, artifacts(tmp_path / "store", "one"))
    generations.flip(generation)
    generations.discard(generation.number)
    assert generations.current() is None
    assert generations.current_number() == 1
    generations.prepare()
    assert (generations.state_dir / "generations" / "notes.txt").read_text() == "mine"


def test_a_state_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Where a file stands in the way, the message carries the path."""
    (tmp_path / "state").write_text("")
    with pytest.raises(GenerationError, match="state cannot be prepared"):
        Generations(tmp_path / "state").prepare()


@pytest.mark.parametrize("part", ["toplevel", "kernel", "initrd"])
def test_a_link_that_was_edited_is_named(generations: Generations, tmp_path: Path, part: str) -> None:
    """A generation whose links are not those that were written is neither read nor good; the older good one is."""
    good, edited = (add(generations, artifacts(tmp_path / "store", name)) for name in ("one", "two"))
    for generation in (good, edited):
        generations.annotate(generation.number, {"verdict": "ok"})
    assert generations.last_good() == edited
    (edited.directory / part).unlink()
    (edited.directory / part).symlink_to("/elsewhere")
    with pytest.raises(GenerationError, match=f"generation 2 cannot be read: its {part} is /elsewhere, but"):
        generations.read(2)
    assert generations.last_good() == good


def test_a_command_line_that_was_edited_is_named(generations: Generations, tmp_path: Path) -> None:
    """The same for the command line, unless an older nixvm-loop wrote the generation, which did not note it."""
    generation = add(generations, artifacts(tmp_path / "store", "one"), "quiet")
    (generation.directory / "cmdline").write_text("quiet single\n")
    with pytest.raises(GenerationError, match=r"its cmdline is quiet single, but generation\.json says quiet"):
        generations.read(1)
    generations.annotate(1, {"cmdline": None})
    assert generations.read(1) is not None


def test_a_good_generation_that_left_the_store_is_not_the_last_good(generations: Generations, tmp_path: Path) -> None:
    """What was deleted by force cannot be gone back to; the one before it can."""
    good, gone = (add(generations, artifacts(tmp_path / "store", name)) for name in ("one", "two"))
    for generation in (good, gone):
        generations.annotate(generation.number, {"verdict": "ok"})
    gone.initrd.unlink()
    assert generations.last_good() == good
    assert generations.read(2) == gone


def test_foreign_things_with_numbers_are_left_alone(generations: Generations, tmp_path: Path) -> None:
    """Files, links and names that only look like numbers are no generations, and no slot collides with them."""
    add(generations, artifacts(tmp_path / "store", "one"))
    (generations.folder / "5").write_text("mine")
    (generations.folder / "6").symlink_to(tmp_path)
    (generations.folder / "07").mkdir()
    (generations.folder / "٨").mkdir()
    generations.prepare()
    generations.prune(keep=1, booted=None)
    assert generations.numbers() == [1]
    assert generations.slot().number == 7
    assert (generations.folder / "5").read_text() == "mine"
    assert {"6", "07", "٨"} <= {entry.name for entry in generations.folder.iterdir()}


def test_what_is_mended_is_told(generations: Generations, tmp_path: Path) -> None:
    """A fixed link that was changed is set right, a folder without generation.json cleared away, both in words."""
    assert generations.prepare() == ()
    generations.slot()
    generations.kernel_link.unlink()
    generations.kernel_link.symlink_to(tmp_path)
    mended = generations.prepare()
    assert mended == (
        "kernel-current did not name current/kernel: set right",
        "generation 1 was never finished, or half deleted: cleared away",
    )
    assert str(generations.kernel_link.readlink()) == "current/kernel"
    assert generations.prepare() == ()


def test_the_current_generation_outlives_the_loss_of_its_json(generations: Generations, tmp_path: Path) -> None:
    """What the domain boots is not cleared away: its generation.json is written anew, not as verified."""
    generation = add(generations, artifacts(tmp_path / "store", "one"))
    generations.annotate(1, {"verdict": "ok"})
    generations.flip(generation)
    (generation.directory / "generation.json").unlink()
    assert generations.current() is None
    assert [text for text in generations.prepare() if "written anew" in text]
    assert generations.current() == generation
    assert not generations.is_good(1)


def test_the_current_generation_keeps_its_root_when_it_cannot_be_mended(
    generations: Generations, tmp_path: Path
) -> None:
    """The link that holds the running system in the store stays."""
    generation = add(generations, artifacts(tmp_path / "store", "one"))
    generations.flip(generation)
    (generation.directory / "generation.json").unlink()
    (generation.directory / "kernel").unlink()
    assert generations.prepare() == ()
    assert (generation.directory / "toplevel").is_symlink()
    assert generations.slot().number == 2
