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
    gone = generations.prune(keep=2, booted=str(made[2].toplevel))
    assert gone == (6, 5, 4)
    assert [generations.read(n) is not None for n in range(1, 9)] == [True, True, True, False, False, False, True, True]


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
