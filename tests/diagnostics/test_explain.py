"""From recorded errors to places in the user's tree."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nixvm_loop import nixlog
from nixvm_loop.diagnostics.explain import Explanation, explain, first_sentence
from nixvm_loop.diagnostics.tree import UserTree
from nixvm_loop.model.nixerror import NixError, Place
from nixvm_loop.model.sources import SourceKind, SourceRoot
from nixvm_loop.nix.disk import Disk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FIXTURES = Path(__file__).parents[1] / "fixtures" / "nix"
HASH = "8k200zwbdh6zk8r3r9cxiqfp1yypvycr"
DRV = f"/nix/store/{HASH}-units.drv"
WEB_ENABLE = "A definition for option `services.web.enable' is not of type `boolean'"
WEB_PORT = "The option `services.web.port' has conflicting definition values"
both = pytest.mark.parametrize("version", ["2.8", "2.26"])


def tree_of(folder: Path, kind: SourceKind = SourceKind.GIT) -> UserTree:
    return UserTree(folder / "flake.nix", (SourceRoot(folder, kind),), Disk())


def recorded(version: str, name: str) -> tuple[Explanation, ...]:
    lines = (FIXTURES / version / f"{name}.log").read_bytes().splitlines()
    errors = [message for line in lines if isinstance(message := nixlog.parse(line), NixError)]
    return explain(errors, tree_of(FIXTURES / "trees" / name), {})


def told(explanations: Sequence[Explanation], folder: Path) -> list[str]:
    spots = [item.diagnostic for item in explanations]
    return [f"{spot.file.relative_to(folder)}:{spot.line}:{spot.column}: {spot.message}" for spot in spots]


def one(text: str, folder: Path, place: Place | None = None, logs: Mapping[str, Sequence[str]] | None = None) -> str:
    """The single problem line for an error, relative to `folder`."""
    (line,) = told(explain([NixError(text, f"error: {text}", place)], tree_of(folder), logs or {}), folder)
    return line


@both
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("syntax-error", "system.nix:4:12: syntax error, unexpected '=', expecting ';'"),
        ("undefined-variable", "system.nix:3:12: undefined variable 'hostName'"),
        ("attribute-missing-inside", "system.nix:5:34: attribute 'disk' missing"),
        ("missing-file", "system.nix:2:13: gone.nix does not exist"),
        ("untracked", "system.nix:2:13: guest.nix is not tracked by git, so Nix does not see it"),
        ("untracked-folder", "system.nix:2:13: modules is not tracked by git, so Nix does not see it"),
        ("untracked-flake", "flake.nix:1:1: flake.nix is not tracked by git, so Nix does not see it"),
        ("module-unknown-option", "guest.nix:6:5: The option `services.web.enabel' does not exist"),
        ("module-wrong-type", f"guest.nix:6:5: {WEB_ENABLE}"),
        ("module-missing-import", "guest.nix:2:1: modules/web.nix does not exist"),
    ],
)
def test_errors_with_a_place(version: str, name: str, expected: str) -> None:
    """The place is the line that the user has to change, whichever version of Nix says it."""
    explanations = recorded(version, name)
    assert told(explanations, FIXTURES / "trees" / name) == [expected]
    assert explanations[0].placed


@both
def test_both_sides_of_a_conflict(version: str) -> None:
    """A conflict between two modules is shown in both."""
    assert told(recorded(version, "module-conflict"), FIXTURES / "trees" / "module-conflict") == [
        f"modules/web.nix:2:16: {WEB_PORT}",
        f"guest.nix:5:16: {WEB_PORT}",
    ]


@both
def test_failed_assertions_one_by_one(version: str) -> None:
    """Each failed assertion is a problem of its own, where its message is written."""
    assert told(recorded(version, "module-assertion"), FIXTURES / "trees" / "module-assertion") == [
        "guest.nix:8:1: failed assertion: The demo is useless without its web server",
        "guest.nix:12:1: failed assertion: The host needs a name of its own",
    ]


@pytest.mark.parametrize(("version", "column"), [("2.8", 1), ("2.26", 10)])
def test_a_throw(version: str, column: int) -> None:
    """Nix 2.8 says nothing of the place: it is found by the text."""
    expected = f"system.nix:4:{column}: the demo needs at least one disk"
    assert told(recorded(version, "thrown"), FIXTURES / "trees" / "thrown") == [expected]


@both
def test_a_type_error(version: str) -> None:
    """The place comes from the message or, in newer Nix, from the nearest frame."""
    (line,) = told(recorded(version, "type-error"), FIXTURES / "trees" / "type-error")
    assert line.startswith("system.nix:3:22: cannot coerce an integer to a string")


@both
def test_an_option_without_a_value(version: str) -> None:
    """No file defines it, so the nearest use in the user's tree is shown."""
    (line,) = told(recorded(version, "module-no-value"), FIXTURES / "trees" / "module-no-value")
    assert line.startswith("modules/base.nix:")
    assert "`services.web.port' was accessed but has no value defined" in line


@both
def test_suggestions_and_cures_are_hints(version: str) -> None:
    """What Nix proposes, or the git command that cures it, is the hint."""
    assert recorded(version, "module-unknown-option")[0].hint == (
        "Did you mean `services.web.enable' or `services.web.port'?"
    )
    folder = FIXTURES / "trees" / "untracked"
    assert recorded(version, "untracked")[0].hint == f"git -C {folder} add -N guest.nix"


@both
def test_only_the_cause_of_a_failed_build(version: str) -> None:
    """Derivations that failed because another one did are not named."""
    (explanation,) = recorded(version, "dependency-failed")
    assert explanation.diagnostic.message == "the builder of units failed with exit code 1"
    assert not explanation.placed
    assert explanation.diagnostic.file.name == "flake.nix"


def test_a_failed_build_in_the_words_of_newer_nix(tmp_path: Path) -> None:
    """From 2.29 on the sentence is another one."""
    text = f"Cannot build '{DRV}'.\nReason: builder failed with exit code 3.\nOutput paths:\n  /nix/store/x"
    assert one(text, tmp_path) == "flake.nix:1:1: the builder of units failed with exit code 3"
    secondary = NixError(f"Cannot build '{DRV}'.\nReason: 1 dependency failed.", "")
    assert len(explain([NixError(text, text), secondary], tree_of(tmp_path), {})) == 1


def test_a_builder_that_names_the_users_file(tmp_path: Path) -> None:
    """A compiler's complaint about a file of the tree is the place; others are ignored."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src/main.c").write_text("int main\n")
    logs = {DRV: ["gcc -O2", "/usr/include/stdio.h:1:2: note", "src/main.c:1:9: error: expected ';'", "x" * 100_000]}
    text = f"builder for '{DRV}' failed with exit code 2"
    assert one(text, tmp_path, logs=logs) == "src/main.c:1:9: the builder of units failed with exit code 2"


def test_the_log_of_a_failed_builder_comes_along(tmp_path: Path) -> None:
    """The last lines of the log belong to the explanation."""
    error = NixError(f"builder for '{DRV}' failed with exit code 2", "")
    (explanation,) = explain([error], tree_of(tmp_path), {DRV: ["a", "b"]})
    assert explanation.log == ("a", "b")
    assert explanation.hint == f"the whole log: nix log {DRV}"


def test_untracked_in_the_words_of_newer_nix(tmp_path: Path) -> None:
    """The file is named with the command that cures it, and shown where it is used."""
    (tmp_path / "new.nix").write_text("{ }")
    (tmp_path / "flake.nix").write_text("{\n  x = import ./new.nix;\n}\n")
    text = (
        f"Path 'new.nix' in the repository \"{tmp_path}\" is not tracked by Git.\n\nTo make it visible to Nix, run:\n\n"
        f'git -C "{tmp_path}" add -N "new.nix"'
    )
    assert one(text, tmp_path) == "flake.nix:2:1: new.nix is not tracked by git, so Nix does not see it"


def test_a_file_that_nobody_mentions_is_its_own_place(tmp_path: Path) -> None:
    """An untracked file that no text names is shown itself."""
    (tmp_path / "new.nix").write_text("{ }")
    text = f"path '/nix/store/{HASH}-source/new.nix' does not exist"
    assert one(text, tmp_path).startswith("new.nix:1:1: ")


def test_outside_git_nothing_is_untracked(tmp_path: Path) -> None:
    """In a plain folder Nix sees every file: no git command is offered."""
    (tmp_path / "new.nix").write_text("{ }")
    error = NixError(f"path '/nix/store/{HASH}-source/new.nix' does not exist", "")
    (explanation,) = explain([error], tree_of(tmp_path, SourceKind.FOLDER), {})
    assert explanation.hint is None
    assert explanation.diagnostic.message == "new.nix does not exist"


@pytest.mark.parametrize("name", ["{tree}/guest.nix", "«git+file://{tree}?ref=main&rev=abc»/guest.nix"])
def test_real_paths_and_virtual_ones(tmp_path: Path, name: str) -> None:
    """Nix 2.32 and newer name the file itself, or the commit that it comes from."""
    (tmp_path / "guest.nix").write_text("{\n}\n")
    place = Place(name.format(tree=tmp_path), 2, 1)
    assert one("undefined variable 'x'", tmp_path, place) == "guest.nix:2:1: undefined variable 'x'"


@pytest.mark.parametrize("name", ["«github:NixOS/nixpkgs/abc»/guest.nix", "/etc/hosts", "<nix/fetchurl.nix>", "", "\0"])
def test_other_peoples_files_are_no_place(tmp_path: Path, name: str) -> None:
    """A file outside the tree is never shown as the user's."""
    (tmp_path / "guest.nix").write_text("{\n}\n")
    assert one("undefined variable 'x'", tmp_path, Place(name, 2, 1)) == "flake.nix:1:1: undefined variable 'x'"


def test_a_file_of_the_same_name_but_other_content(tmp_path: Path) -> None:
    """Nixpkgs has a flake.nix too: only equal content makes a store path the user's file."""

    class Store(Disk):
        def read(self, path: Path) -> str | None:
            return "theirs" if path.is_relative_to("/nix/store") else super().read(path)

    name = f"/nix/store/{HASH}-source/lib/default.nix"
    (tmp_path / "lib").mkdir()
    file = tmp_path / "lib/default.nix"
    tree = UserTree(tmp_path / "flake.nix", (SourceRoot(tmp_path, SourceKind.GIT),), Store())
    file.write_text("mine")
    assert tree.locate(name) is None
    file.write_text("theirs")
    assert tree.locate(name) == file


def test_a_frame_in_the_flake_counts_more_than_one_in_an_input(tmp_path: Path) -> None:
    """With a local checkout of nixpkgs as an input, the place is still in the user's own code."""
    for folder in ("own", "input"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{folder}.nix").write_text("{ }")
    roots = tuple(SourceRoot(tmp_path / folder, SourceKind.FOLDER) for folder in ("own", "input"))
    trace = (Place(str(tmp_path / "input/input.nix"), 9, 9), Place(str(tmp_path / "own/own.nix"), 2, 3))
    error = NixError("value is null", "", None, trace)
    (explanation,) = explain([error], UserTree(tmp_path / "own/flake.nix", roots, Disk()), {})
    assert told([explanation], tmp_path) == ["own/own.nix:2:3: value is null"]


def test_a_wrong_hash_is_shown_where_it_is_written(tmp_path: Path) -> None:
    """A fixed-output derivation's mismatch leads to the hash in the tree."""
    (tmp_path / "pkg.nix").write_text('{\n  hash = "sha256-AAAA";\n}\n')
    text = f"hash mismatch in fixed-output derivation '{DRV}':\n  specified: sha256-AAAA\n  got:       sha256-BBBB"
    line = one(text, tmp_path)
    assert line.startswith("pkg.nix:2:1: hash mismatch in fixed-output derivation")
    assert line.endswith("got: sha256-BBBB")


def test_an_error_without_any_place(tmp_path: Path) -> None:
    """It is shown at the flake's first line, and marked as not placed."""
    (explanation,) = explain([NixError("unable to download 'x'", "")], tree_of(tmp_path), {})
    assert told([explanation], tmp_path) == ["flake.nix:1:1: unable to download 'x'"]
    assert not explanation.placed


def test_the_same_error_twice_is_one(tmp_path: Path) -> None:
    """Nix repeats itself; problem lines do not."""
    assert len(explain([NixError("a", ""), NixError("a", "")], tree_of(tmp_path), {})) == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("simple", "simple"),
        ("two\n  lines", "two lines"),
        ("first paragraph.\n\nsecond", "first paragraph"),
        ("Option `x' is bad. Definition values:\n- In `/a': 1", "Option `x' is bad."),
        ("", ""),
    ],
)
def test_first_sentence(text: str, sentence: str) -> None:
    """A message fits on one line and ends before lists and further paragraphs."""
    assert first_sentence(text) == sentence.rstrip(".")
