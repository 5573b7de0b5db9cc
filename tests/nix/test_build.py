"""Real nix on real checkouts."""

from __future__ import annotations

import itertools
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nixvm_loop.errors import BuildError
from nixvm_loop.events.types import BuildLog, BuildProgress, DiagnosticSeen, StageFinished, StageStarted
from nixvm_loop.nix import Revision, build, closure, revision
from nixvm_loop.process import Request, run
from tests.nix.flakes import Heard, git, guest_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from nixvm_loop.model.settings import GuestSettings

pytestmark = pytest.mark.usefixtures("real_nix")
_numbers = itertools.count()


async def outcome_of(guest: GuestSettings, link: Path, heard: Heard) -> Path:
    return await build(guest, link, heard.events.append, heard.lines.append)


async def failure_of(guest: GuestSettings, link: Path, heard: Heard) -> BuildError:
    with pytest.raises(BuildError) as caught:
        await outcome_of(guest, link, heard)
    return caught.value


def make_new(tree: Path) -> str:
    """Change what the tree builds to something that was never built before; the word that its output holds."""
    word = f"{os.getpid()}-{time.time_ns()}-{next(_numbers)}"
    file = tree / "system.nix"
    file.write_text(file.read_text().replace("echo system", f"echo {word}"))
    return word


def stages(heard: Heard) -> list[tuple[str, bool | None]]:
    return [
        (event.stage.value, event.ok if isinstance(event, StageFinished) else None)
        for event in heard.events
        if isinstance(event, StageStarted | StageFinished)
    ]


async def test_a_system_is_built(checkout: Callable[[str], Path], tmp_path: Path, heard: Heard) -> None:
    """The path is returned and linked; stages, progress and log lines are told; the log has every readable line."""
    tree, link = checkout("success"), tmp_path / "toplevel"
    word = make_new(tree)
    toplevel = await outcome_of(guest_of(tree), link, heard)
    assert toplevel.read_text() == f"{word}\n"
    assert link.readlink() == toplevel
    assert toplevel.is_relative_to("/nix/store")
    assert stages(heard) == [("eval", None), ("eval", True), ("realise", None), ("realise", True)]
    assert BuildLog("nixos-system-demo", "compiling") in heard.events
    assert heard.of(BuildProgress)[-1] == BuildProgress(1, 1, 0, 0)
    assert "nixos-system-demo> compiling" in heard.lines
    assert heard.lines[0].startswith("$ nix ")
    assert not (tree / "flake.lock").exists()


async def test_an_unchanged_system(checkout: Callable[[str], Path], tmp_path: Path, heard: Heard) -> None:
    """The second build gives the same path and runs no builder."""
    guest = guest_of(checkout("success"))
    first = await outcome_of(guest, tmp_path / "a", Heard())
    assert await outcome_of(guest, tmp_path / "b", heard) == first
    assert stages(heard) == [("eval", None), ("eval", True), ("realise", None), ("realise", True)]
    assert not [line for line in heard.lines if line.startswith("nixos-system-demo> ")]


async def test_the_link_is_a_root_and_stays_when_a_build_fails(checkout: Callable[[str], Path], tmp_path: Path) -> None:
    """A failed build changes nothing."""
    tree, link = checkout("success"), tmp_path / "toplevel"
    first = await outcome_of(guest_of(tree), link, Heard())
    (tree / "system.nix").write_text("{ oh no }")
    error = await failure_of(guest_of(tree), link, Heard())
    assert error.message.startswith(f"{tree}/system.nix:1:")
    assert link.readlink() == first


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("syntax-error", "{tree}/system.nix:4:12: syntax error, unexpected '=', expecting ';'"),
        ("undefined-variable", "{tree}/system.nix:3:12: undefined variable 'hostName'"),
        ("missing-file", "{tree}/system.nix:2:13: gone.nix does not exist"),
    ],
)
async def test_an_error_in_the_nix_code(
    checkout: Callable[[str], Path], tmp_path: Path, heard: Heard, name: str, message: str
) -> None:
    """The message holds the place, the same place is a diagnostic, and only `eval` has failed."""
    tree = checkout(name)
    error = await failure_of(guest_of(tree), tmp_path / "x", heard)
    assert error.message == message.format(tree=tree)
    (seen,) = heard.of(DiagnosticSeen)
    assert isinstance(seen, DiagnosticSeen)
    assert f"{seen.file}:{seen.line}:{seen.column}: {seen.message}" == error.message
    assert stages(heard) == [("eval", None), ("eval", False)]
    assert error.exit_code == 3


async def test_a_builder_that_fails(checkout: Callable[[str], Path], tmp_path: Path, heard: Heard) -> None:
    """Derivation and exit code are named, the end of its log is shown, and only `realise` has failed."""
    error = await failure_of(guest_of(checkout("failing-derivation")), tmp_path / "x", heard)
    assert error.message == "the builder of nixos-system-demo failed with exit code 3"
    assert error.details == ("line 1", "line 2", "line 3", "error: the compiler is not happy")
    assert str(error.hint).startswith("the whole log: nix log /nix/store/")
    assert stages(heard) == [("eval", None), ("eval", True), ("realise", None), ("realise", False)]


async def test_an_untracked_file(checkout: Callable[[str], Path], tmp_path: Path, heard: Heard) -> None:
    """The hint is the command that cures it: after it, the build succeeds."""
    tree = checkout("untracked")
    git(tree, "rm", "-q", "--cached", "guest.nix")
    error = await failure_of(guest_of(tree), tmp_path / "x", heard)
    assert error.message == f"{tree}/system.nix:2:13: guest.nix is not tracked by git, so Nix does not see it"
    assert error.hint == f"git -C {tree} add -N guest.nix"
    git(tree, *str(error.hint).split()[3:])
    await outcome_of(guest_of(tree), tmp_path / "x", Heard())


async def test_an_attribute_that_is_missing(checkout: Callable[[str], Path], tmp_path: Path, heard: Heard) -> None:
    """The configurations that there are, and the likeliest, are named."""
    tree = checkout("missing-attribute")
    error = await failure_of(guest_of(tree), tmp_path / "x", heard)
    assert error.message == f"{tree} has no nixosConfigurations.demo.config.system.build.toplevel"
    assert error.hint == "did you mean nixosConfigurations.dmeo? (there are: nixosConfigurations.dmeo)"
    assert [event.file for event in heard.events if isinstance(event, DiagnosticSeen)] == [f"{tree}/flake.nix"]


async def test_a_folder_without_a_flake(checkout: Callable[[str], Path], tmp_path: Path, heard: Heard) -> None:
    """There is a hint, and no problem line for a file that does not exist."""
    tree = checkout("no-flake")
    error = await failure_of(guest_of(tree), tmp_path / "x", heard)
    assert error.message == f"there is no flake.nix in {tree}"
    assert error.hint == "`flake` must name a folder with a flake.nix"
    assert heard.of(DiagnosticSeen) == []


async def test_a_folder_that_does_not_exist(tmp_path: Path, heard: Heard) -> None:
    """It is named before nix is started."""
    error = await failure_of(guest_of(tmp_path / "gone"), tmp_path / "x", heard)
    assert error.message == f"the flake's folder {tmp_path}/gone does not exist"


async def test_nix_is_not_installed(
    checkout: Callable[[str], Path], tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without nix the build fails with its own exit code, and a hint."""
    tree = checkout("success")
    monkeypatch.setenv("PATH", str(tmp_path))
    error = await failure_of(guest_of(tree), tmp_path / "x", heard)
    assert (error.exit_code, error.message) == (3, "nix is not installed, or not on PATH")
    assert "https://nixos.org" in str(error.hint)


async def test_the_daemon_is_not_running(
    checkout: Callable[[str], Path], tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that nobody reaches is told with how to start it."""
    monkeypatch.setenv("NIX_REMOTE", f"unix://{tmp_path}/no-socket")
    error = await failure_of(guest_of(checkout("success")), tmp_path / "x", heard)
    assert "cannot connect to socket" in error.message
    assert error.hint == "start Nix's daemon: systemctl start nix-daemon"


async def test_a_failure_that_nobody_knows_shows_the_last_lines(
    checkout: Callable[[str], Path], tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If nix fails without an error message, its words are shown as they are."""
    stand_in = tmp_path / "bin/nix"
    stand_in.parent.mkdir()
    stand_in.write_text("#!/bin/sh\necho strange words >&2\nexit 7\n")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_in.parent}:{os.environ['PATH']}")
    error = await failure_of(guest_of(checkout("success")), tmp_path / "x", heard)
    assert error.message == "nix build failed with exit code 7 and gave no reason"
    assert error.details == ("strange words",)
    stand_in.write_text("#!/bin/sh\nkill -KILL $$\n")
    error = await failure_of(guest_of(tmp_path / "success"), tmp_path / "x", heard)
    assert error.message == "nix was killed by SIGKILL"
    assert "memory" in str(error.hint)


async def test_a_recursion_without_end(checkout: Callable[[str], Path], tmp_path: Path, heard: Heard) -> None:
    """Nix has no stack left to say it by its protocol: what it says is the message, and the log is named."""
    tree, log_file = checkout("success"), tmp_path / "nix.log"
    (tree / "system.nix").write_text("let\n  f = x:\n    1 + f (x + 1);\nin\nf 0\n")
    with pytest.raises(BuildError) as caught:
        await build(guest_of(tree), tmp_path / "x", heard.events.append, heard.lines.append, log_file)
    assert "stack overflow" in caught.value.message
    assert "gave no reason" not in caught.value.message
    (spot,) = heard.of(DiagnosticSeen)
    assert isinstance(spot, DiagnosticSeen)
    assert spot.file.startswith(f"{tree}/")
    assert "stack overflow" in spot.message
    assert "by way of itself" in str(caught.value.hint)
    if spot.file.endswith("flake.nix"):  # without a place by Nix, as 2.8 has it
        assert str(caught.value.hint).endswith(f"the log is {log_file}")


@pytest.mark.parametrize(("failures", "ok"), [(2, True), (3, False)])
async def test_files_that_change_while_nix_reads_them(
    checkout: Callable[[str], Path],
    tmp_path: Path,
    heard: Heard,
    monkeypatch: pytest.MonkeyPatch,
    failures: int,
    *,
    ok: bool,
) -> None:
    """Exit status 102 is tried again, three times in all."""
    stand_in = tmp_path / "bin/nix"
    stand_in.parent.mkdir()
    count = tmp_path / "count"
    stand_in.write_text(
        f'#!/bin/sh\necho x >> {count}\n[ "$(wc -l < {count})" -gt {failures} ] || exit 102\n'
        f"ln -sfn /nix/store/{'0' * 32}-system {tmp_path}/toplevel\n"
    )
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_in.parent}:{os.environ['PATH']}")
    guest = guest_of(checkout("success"))
    if ok:
        assert (await outcome_of(guest, tmp_path / "toplevel", heard)).name.endswith("-system")
    else:
        assert "exit code 102" in (await failure_of(guest, tmp_path / "toplevel", heard)).message
    assert count.read_text() == "x\n" * 3


async def test_a_megabyte_in_one_line_of_a_log(checkout: Callable[[str], Path], tmp_path: Path, heard: Heard) -> None:
    """It arrives whole in the log, and nothing takes long over it."""
    tree = checkout("success")
    make_new(tree)
    file = tree / "system.nix"
    loop = "s=0123456789abcdef; for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do s=$s$s; done; echo $s"
    file.write_text(file.read_text().replace("echo unpacking", loop))
    await outcome_of(guest_of(tree), tmp_path / "x", heard)
    assert max(len(line) for line in heard.lines) > 2**20


async def test_a_flake_in_a_folder_with_a_space(checkout: Callable[[str], Path], tmp_path: Path, heard: Heard) -> None:
    """What Nix 2.8 cannot read as a path is given to it as a URL."""
    tree = checkout("success").rename(tmp_path / "a folder")
    assert (await outcome_of(guest_of(tree), tmp_path / "x", heard)).exists()


@pytest.mark.parametrize("reference", ["{folder}", "git+file://{top}?dir=guests/demo", "path:{folder}"])
async def test_a_flake_below_the_top_of_its_repository(
    checkout: Callable[[str], Path], tmp_path: Path, heard: Heard, reference: str
) -> None:
    """However the flake is named, the place is the user's own file."""
    folder = tmp_path / "top/guests/demo"
    folder.parent.mkdir(parents=True)
    checkout("undefined-variable").rename(folder)
    (folder / ".git").rename(tmp_path / "top/.git")
    git(tmp_path / "top", "add", "--all")
    guest = guest_of(folder, flake=reference.format(folder=folder, top=tmp_path / "top"))
    error = await failure_of(guest, tmp_path / "x", heard)
    assert error.message == f"{folder}/system.nix:3:12: undefined variable 'hostName'"


async def test_an_edited_local_input_is_really_used(tmp_path: Path, heard: Heard) -> None:
    """A folder, a git checkout, an input's input and one without a flake: what is edited counts, not the lock."""
    flake = tmp_path / "flake"
    for name in ("folder", "nested", "plain", "checkout", "flake"):
        (tmp_path / name).mkdir()
    (tmp_path / "nested/flake.nix").write_text('{ outputs = _: { word = "nested1"; }; }')
    (tmp_path / "folder/flake.nix").write_text(
        f'{{ inputs.nested.url = "path:{tmp_path}/nested";'
        ' outputs = { self, nested }: { word = "folder1 ${nested.word}"; }; }'
    )
    (tmp_path / "plain/data").write_text("plain1")
    (tmp_path / "checkout/flake.nix").write_text('{ outputs = _: { word = "checkout1"; }; }')
    (flake / "flake.nix").write_text(
        "{\n"
        f'  inputs.folder.url = "path:{tmp_path}/folder";\n'
        f'  inputs.plain = {{ url = "path:{tmp_path}/plain"; flake = false; }};\n'
        f'  inputs.checkout.url = "git+file://{tmp_path}/checkout";\n'
        "  outputs = { self, folder, plain, checkout }: {\n"
        "    nixosConfigurations.demo.config.system.build.toplevel = derivation {\n"
        '      name = "words"; system = "x86_64-linux"; builder = "/bin/sh";\n'
        '      args = [ "-c" "echo ${folder.word} ${builtins.readFile "${plain}/data"} ${checkout.word} > $out" ];\n'
        "    };\n  };\n}\n"
    )
    for name in ("checkout", "flake"):
        git(tmp_path / name, "init", "-q")
        git(tmp_path / name, "add", ".")
        git(tmp_path / name, "commit", "-qm", "first")
    await lock(flake)
    assert "checkout" in json.loads((flake / "flake.lock").read_text())["nodes"]
    locked = (flake / "flake.lock").read_text()
    for file in ("nested/flake.nix", "folder/flake.nix", "plain/data", "checkout/flake.nix"):
        path = tmp_path / file
        path.write_text(path.read_text().replace("1", "2"))
    toplevel = await outcome_of(guest_of(flake), tmp_path / "x", heard)
    assert toplevel.read_text() == "folder2 nested2 plain2 checkout2\n"
    assert (flake / "flake.lock").read_text() == locked
    assert not [event for event in heard.of(BuildLog) if isinstance(event, BuildLog) and event.derivation is None]


async def lock(flake: Path) -> None:
    argv = ("nix", "--extra-experimental-features", "nix-command flakes", "flake", "lock", str(flake))
    assert (await run(Request(argv))).ok


async def test_the_closure_of_a_system(checkout: Callable[[str], Path], tmp_path: Path, heard: Heard) -> None:
    """The path itself and what it refers to; a path that Nix does not know is an error."""
    tree = checkout("success")
    (tree / "system.nix").write_text(
        'let run = name: script: derivation { inherit name; system = "x86_64-linux"; builder = "/bin/sh";'
        ' args = [ "-c" script ]; }; part = run "part" "echo part > $out"; in'
        ' { config.system.build.toplevel = run "top" "echo ${part} > $out"; }'
    )
    toplevel = await outcome_of(guest_of(tree), tmp_path / "x", heard)
    part = toplevel.read_text().strip()
    assert await closure(toplevel) == {str(toplevel), part}
    with pytest.raises(BuildError, match="cannot be read"):
        await closure(Path(f"/nix/store/{'0' * 32}-unknown"))


async def test_the_revision_of_a_checkout(checkout: Callable[[str], Path], tmp_path: Path) -> None:
    """The commit and whether tracked files differ; untracked ones do not count; outside git there is none."""
    tree = checkout("success")
    guest = guest_of(tree)
    index = (tree / ".git/index").stat().st_mtime_ns
    clean = await revision(guest)
    assert (len(str(clean.rev)), clean.dirty) == (40, False)
    (tree / "new").write_text("x")
    assert await revision(guest) == clean
    os.utime(tree / "system.nix")
    assert await revision(guest) == clean
    make_new(tree)
    assert await revision(guest) == Revision(clean.rev, dirty=True)
    assert (tree / ".git/index").stat().st_mtime_ns == index
    (tmp_path / "plain").mkdir()
    assert await revision(guest_of(tmp_path / "plain")) == Revision(None, dirty=False)
