"""One run of `nix build`: evaluates once, builds the toplevel alone, and tells everybody what it does."""

from __future__ import annotations

import difflib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nixvm_loop import nixlog
from nixvm_loop.diagnostics.tree import UserTree
from nixvm_loop.errors import BuildError, UsageError
from nixvm_loop.events.types import DiagnosticSeen, StageFinished, StageStarted
from nixvm_loop.model.values import Diagnostic, Severity, Stage
from nixvm_loop.nix.disk import Disk
from nixvm_loop.nix.failure import attribute_is_missing, failure, missing_attribute
from nixvm_loop.nix.flakeref import for_nix
from nixvm_loop.nix.follow import Follower
from nixvm_loop.nix.queries import NIX, NIX_ENV
from nixvm_loop.nix.sources import override_arguments, source_roots
from nixvm_loop.process import Outcome, Request, Stream, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from nixvm_loop.events.types import Emit
    from nixvm_loop.model.settings import GuestSettings

_FILES_CHANGED: Final = 102
_ATTEMPTS: Final = 3


async def build(
    guest: GuestSettings, out_link: Path, emit: Emit, log: Callable[[str], None], log_file: Path | None = None
) -> Path:
    """Build the guest's system; its store path, which `out_link` then names and keeps from the garbage collector.

    Cancelling ends nix and its builders before it returns. `out_link` changes only when the build succeeded.

    Args:
        guest: Whose system.
        out_link: Where the link is made, at its final path; its folder must exist.
        emit: Takes the events of the stages `eval` and `realise`.
        log: Takes every readable line, for the cycle's nix.log.
        log_file: Where that is, for the hint of a failure that nothing explains.

    Raises:
        BuildError: Nix did not build it, or cannot be started.
    """
    request = _request(guest, out_link)
    log(f"$ {request}")
    for attempt in range(1, _ATTEMPTS + 1):
        watch = _Watch(emit, log)
        outcome = await watch.run(request)
        if outcome.ok:
            return _target(out_link)
        if outcome.exit_code != _FILES_CHANGED or attempt == _ATTEMPTS:
            raise await _explained(guest, watch.follower, outcome, emit, log_file)
        log("files changed while nix read them: once more")
    raise AssertionError


@dataclass(slots=True)
class _Watch:
    """Listens to one run and keeps the two stages."""

    emit: Emit
    log: Callable[[str], None]
    follower: Follower = field(default_factory=Follower)
    stage: Stage = Stage.EVAL
    since: float = field(default_factory=time.monotonic)

    async def run(self, request: Request) -> Outcome:
        self.emit(StageStarted(self.stage))
        ok = False
        try:
            outcome = await run(request, self._line)
            ok = outcome.ok
        except UsageError as error:
            raise BuildError(error.message, hint="install Nix: https://nixos.org/download") from error
        finally:
            if ok and self.stage is Stage.EVAL:
                self._next_stage()
            self._finish(ok=ok)
        return outcome

    def _line(self, stream: Stream, line: bytes) -> None:
        message = nixlog.parse(line) if stream is Stream.STDERR else nixlog.Plain("")
        heard = self.follower.take(message)
        if self.follower.realising and self.stage is Stage.EVAL:
            self._next_stage()
        for text in heard.lines:
            self.log(text)
        for event in heard.events:
            self.emit(event)

    def _next_stage(self) -> None:
        self._finish(ok=True)
        self.stage, self.since = Stage.REALISE, time.monotonic()
        self.emit(StageStarted(self.stage))

    def _finish(self, *, ok: bool) -> None:
        self.emit(StageFinished(self.stage, ok, time.monotonic() - self.since))


def _target(link: Path) -> Path:
    return link.readlink()


def _request(guest: GuestSettings, out_link: Path) -> Request:
    if guest.flake_dir is not None and not guest.flake_dir.is_dir():
        raise BuildError(f"the flake's folder {guest.flake_dir} does not exist", hint="set `flake` in the config")
    if guest.flake == str(guest.flake_dir) and not _holds_flake(Path(guest.flake)):
        hint = "`flake` must name a folder with a flake.nix"
        raise BuildError(f"there is no flake.nix in {guest.flake_dir}", hint=hint)
    argv = (
        *NIX,
        "build",
        "--no-write-lock-file",
        "--log-format",
        "internal-json",
        "--show-trace",
        "--out-link",
        str(out_link),
        f"{for_nix(guest.flake)}#{guest.attribute}.config.system.build.toplevel",
        *override_arguments(guest),
        *guest.build.options,
    )
    return Request(argv, cwd=guest.flake_dir, env=NIX_ENV)


def _holds_flake(folder: Path) -> bool:
    # Nix looks in the folders above as well.
    return any((at / "flake.nix").exists() for at in (folder, *folder.parents))


async def _explained(
    guest: GuestSettings, follower: Follower, outcome: Outcome, emit: Emit, log_file: Path | None
) -> BuildError:
    folder = guest.flake_dir or guest.state_dir
    tree = UserTree(folder / "flake.nix", source_roots(guest), Disk())
    if attribute_is_missing(follower):
        error = await _missing_attribute(guest)
        spots = [Diagnostic(tree.flake_file, 1, 1, Severity.ERROR, error.message)]
    else:
        why = failure(follower, tree, outcome.exit_code, str(log_file or "the cycle's nix.log"))
        error, spots = why.error, [item.diagnostic for item in why.explanations]
    for spot in spots:
        # Neither a remote flake nor a folder without one has a place to jump to.
        if spot.file.exists():
            emit(DiagnosticSeen(str(spot.file), spot.line, spot.column, spot.severity, spot.message))
    return error


async def _missing_attribute(guest: GuestSettings) -> BuildError:
    parent, _, _name = guest.attribute.rpartition(".")
    installable = f"{for_nix(guest.flake)}#{parent}"
    arguments = ("--json", "--no-write-lock-file", installable, "--apply", "builtins.attrNames")
    request = Request((*NIX, "eval", *arguments, *override_arguments(guest)), cwd=guest.flake_dir, env=NIX_ENV)
    outcome = await run(request)
    found = json.loads(outcome.stdout) if outcome.ok and parent else []
    names = [f"{parent}.{name}" for name in found if f"{parent}.{name}" != guest.attribute]
    return missing_attribute(guest.attribute, guest.flake, names, difflib.get_close_matches(guest.attribute, names))
