"""Probes of the config and of what it names: the flake, the state directory, the key."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from nixvm_loop.doctor.ids import Id
from nixvm_loop.doctor.probe import Answer, Found, NotPossibleError, Probe, Report
from nixvm_loop.errors import ConfigError, GenerationError, UsageError
from nixvm_loop.generation import entries, identity
from nixvm_loop.model.values import Area, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from nixvm_loop.doctor.patient import Patient

_CODE: Final = ConfigError.exit_code
_MOST_FILES: Final = 20


def judge_config(error: UsageError) -> Found:
    """What a config that cannot be used says."""
    evidence = "; ".join((error.message, *error.details))
    fix = error.hint or "config.example.toml names every key"
    return Found(Id.CONFIG_INVALID, Severity.ERROR, evidence, "the config cannot be used as it stands", fix)


def no_config(error: UsageError) -> Report:
    """The report where there is no config to examine anything by."""
    probe = Probe(Area.CONFIG, "file", _file, _CODE)
    return Report.of(probe, Answer("cannot be used", (judge_config(error),)))


def judge_untracked(untracked: Iterable[str], mentioned: Iterable[str], top: Path) -> tuple[Found, ...]:
    """Files (below `top`) that git does not track although tracked ones name them: Nix does not see them."""
    names = sorted(set(untracked) & set(mentioned))
    if not names:
        return ()
    cause = "a file that the flake names is not tracked by git, so Nix does not see it"
    fix = f"git -C {top} add -N {' '.join(names)}"
    return (Found(Id.UNTRACKED_FILE, Severity.WARNING, ", ".join(names), cause, fix),)


async def _file(patient: Patient) -> Answer:
    return Answer(f"guest {patient.settings.name}")


async def _flake(patient: Patient) -> Answer:
    folder = patient.settings.flake_dir
    if folder is None:
        raise NotPossibleError(f"{patient.settings.flake} is not on this machine")
    if not (folder / "flake.nix").is_file():
        fix = "`flake` must name a folder with a flake.nix; nixvm-loop init finds one"
        cause = "there is no flake where the config says"
        return Answer("missing", (Found(Id.NO_FLAKE, Severity.ERROR, f"{folder}/flake.nix", cause, fix),))
    return Answer(str(folder), await _untracked(patient, folder))


async def _untracked(patient: Patient, folder: Path) -> tuple[Found, ...]:
    try:
        listed = await patient.program(
            "git", "-C", str(folder), "ls-files", "--others", "--exclude-standard", "--", "*.nix"
        )
        names = listed.stdout.decode(errors="replace").splitlines()[:_MOST_FILES] if listed.ok else []
        mentioned = [name for name in names if await _is_mentioned(patient, folder, name)]
    except (UsageError, NotPossibleError):
        return ()  # without git there is nothing to track
    return judge_untracked(names, mentioned, folder)


async def _is_mentioned(patient: Patient, folder: Path, name: str) -> bool:
    word = os.path.basename(name)  # noqa: PTH119  # git's name, not a path of this machine
    asked = await patient.program("git", "-C", str(folder), "grep", "-qF", "-e", word, "--", "*.nix")
    return asked.ok


async def _state(patient: Patient) -> Answer:
    settings = patient.settings
    try:
        identity.check(settings.state_dir, flake=settings.flake)
        identity.check_apart(settings.state_dir, settings.flake_dir)
        listed = entries.entries(patient.generations) if settings.state_dir.is_dir() else ()
        odd = entries.problems(patient.generations) if settings.state_dir.is_dir() else ()
    except UsageError as error:
        cause = "the state directory cannot be this guest's"
        fix = error.hint or "give this guest a state_dir of its own"
        return Answer("not usable", (Found(Id.STATE_DIR, Severity.ERROR, error.message, cause, fix),))
    except GenerationError as error:
        return Answer("damaged", (_damaged((error.message,), Severity.ERROR),))
    found = _judge_writable(settings.state_dir)
    broken = [f"generation {one.number} is {one.problem}" for one in listed if one.problem and one.generation]
    if odd or broken:
        found += (_damaged((*odd, *broken), Severity.WARNING),)
    count = f"{len(listed)} generation" if len(listed) == 1 else f"{len(listed)} generations"
    return Answer(f"{settings.state_dir}, {count}", found)


def _damaged(sentences: tuple[str, ...], severity: Severity) -> Found:
    cause = "the state directory is not as nixvm-loop left it"
    return Found(Id.STATE_DAMAGED, severity, "; ".join(sentences), cause, "nixvm-loop rebuild sets right what it can")


def _judge_writable(state_dir: Path) -> tuple[Found, ...]:
    folder = next((one for one in (state_dir, *state_dir.parents) if one.exists()), state_dir)
    if os.access(folder, os.W_OK | os.X_OK) and not os.statvfs(folder).f_flag & os.ST_RDONLY:
        return ()
    cause, fix = "nixvm-loop cannot write its state", "mend owner and permissions, or set state_dir to another folder"
    return (Found(Id.STATE_DIR, Severity.ERROR, f"{folder} is not writable", cause, fix),)


PROBES: Final = (
    Probe(Area.CONFIG, "file", _file, _CODE),
    Probe(Area.CONFIG, "flake", _flake, _CODE),
    Probe(Area.CONFIG, "state", _state, _CODE),
)
