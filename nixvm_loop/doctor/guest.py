"""Probes of the guest: is it reached, does it run what it should on sound mounts. `verify` judges; this explains."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from nixvm_loop import verify
from nixvm_loop.doctor.ids import Id
from nixvm_loop.doctor.probe import Answer, Cure, Found, NotPossibleError, Probe, Remedy
from nixvm_loop.errors import AccessError, GuestError, HostKeyError
from nixvm_loop.model.units import format_seconds
from nixvm_loop.model.values import Area, Outcome, Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixvm_loop.doctor.patient import GuestSeen, Patient
    from nixvm_loop.model.facts import GuestFacts, Mount
    from nixvm_loop.model.values import Check

_REACHED: Final = 6
_VERIFIED: Final = 7
_SHOWN_PATHS: Final = 5
_WHAT_RUNS: Final = (Id.BOOT_ID, Id.SYSTEM, Id.CMDLINE, Id.KERNEL)
_MOUNTS: Final = (Id.STORE_SHARE, Id.STORE_SHARE_READONLY, Id.STORE_OVERLAY)
_LAYER: Final = (Id.STORE_WRITE, Id.RW_STORE_SPACE)
_UNITS: Final = (Id.FAILED_UNITS,)
# Those of `verify` that one cause stands behind; `store-complete` has several.
_CAUSES: Final = {
    Id.BOOT_ID: "the guest does not tell which boot it is in",
    Id.SYSTEM: "the guest does not run the current generation's system",
    Id.CMDLINE: "the guest was booted with another command line than the current generation's",
    Id.KERNEL: "the domain was started with another kernel or initrd than the current generation's",
    Id.STORE_SHARE: "the host's store is not mounted where it should be",
    Id.STORE_SHARE_READONLY: "the guest mounts the host's store writable",
    Id.STORE_OVERLAY: "the store's mount point is not the overlay of share and writable layer",
    Id.STORE_WRITE: "nothing can be written through the overlay",
    Id.RW_STORE_SPACE: "the writable layer is nearly full",
    Id.FAILED_UNITS: "units of the guest have failed, or its start-up does not end",
}
# A guest without modules of its own, or without Nix, says so.
_INSIDE: Final = """\
PATH=$PATH:/run/current-system/sw/bin
folder=/run/booted-system/kernel-modules/lib/modules
read -r release </proc/sys/kernel/osrelease
if [ ! -d $folder ]; then echo modules none
elif [ -d $folder/$release ]; then echo modules yes
else echo "modules no $folder/$release"; fi
if ! command -v nix-store >/dev/null; then echo database none
elif system=$(readlink -f /run/current-system) && nix-store --check-validity $system 2>/dev/null; then echo database yes
else echo "database no $system"; fi
"""
# "Offline changes … are only allowed if … have not been used": the host's store changes under the overlay all the time.
_FEATURES: Final = ("index", "metacopy", "redirect_dir")


def judge_reach(error: GuestError) -> Found:
    """What it means that the guest does not let us in."""
    name, cause = Id.GUEST_UNREACHED, "the guest does not answer SSH"
    if isinstance(error, HostKeyError):
        name, cause = Id.HOST_KEY_CHANGED, "what answers for the guest does not show the guest's host key"
    elif isinstance(error, AccessError) or "ermission denied" in error.message:
        name, cause = Id.SSH_KEY_REFUSED, "the guest does not accept nixvm-loop's key"
    elif "SSH key" in error.message:
        name, cause = Id.SSH_KEY_UNUSABLE, "the key to log in with is missing or cannot be read"
    fix = error.hint or "look at its console: nixvm-loop console"
    return Found(name, Severity.ERROR, error.message, cause, fix)


def judge_checks(checks: Sequence[Check]) -> tuple[Found, ...]:
    """The findings that failed checks are."""
    return tuple(
        Found(
            Id(check.id),
            Severity.ERROR if check.required else Severity.WARNING,
            f"{check.actual or 'nothing'}; expected: {check.expected}",
            _CAUSES[Id(check.id)],
            check.hint or "nixvm-loop rebuild --force boots the current generation anew",
        )
        for check in checks
        if check.outcome is Outcome.FAILED
    )


def judge_coherence(unseen: verify.Unseen) -> tuple[Found, ...]:
    """Store paths that the guest does not see, told apart by what hides them."""
    refresh = "nixvm-loop verify --refresh has the guest look anew; what a process still holds open takes a restart"
    kinds = (
        (Id.STORE_HIDDEN, unseen.hidden, "the overlay hides what the guest looked up before it was built", refresh),
        (Id.STORE_STALE, unseen.stale, "the overlay knows what was replaced on the host as it was before", refresh),
        (
            Id.STORE_GONE,
            unseen.gone,
            "paths of the running system were deleted from the host's store under the guest",
            "nixvm-loop rebuild builds them again and restarts the guest",
        ),
        (
            Id.STORE_ABSENT,
            unseen.absent,
            "the share does not show what this host's store has",
            "does the domain share this host's /nix/store? nixvm-loop rebuild --force restarts the guest and virtiofsd",
        ),
    )
    cures = {Id.STORE_HIDDEN, Id.STORE_STALE}
    return tuple(
        Found(
            name,
            Severity.ERROR,
            _listed(paths),
            cause,
            fix,
            Cure(Remedy.DROP_CACHES) if name in cures else None,
        )
        for name, paths, cause, fix in kinds
        if paths
    )


def judge_features(store: Mount | None) -> tuple[Found, ...]:
    """Features of the overlay that do not go with a lower layer that changes."""
    options = {} if store is None or store.fs_type != "overlay" else store.super_options
    used = [f"{name}={options[name]}" for name in _FEATURES if options.get(name) == "on"]
    if not used:
        return ()
    off = ", ".join(f'"{feature.partition("=")[0]}=off"' for feature in used)
    return (
        Found(
            Id.OVERLAY_FEATURES,
            Severity.WARNING,
            f"options of the store's overlay: {', '.join(used)}",
            "with these features, the overlay may not cope with a host's store that changes under it",
            f'fileSystems."/nix/store".options = [ {off} ];',
        ),
    )


def judge_reboot(before: str | None, facts: GuestFacts, *, same_run: bool) -> tuple[Found, ...]:
    """Whether the guest has booted again by itself, in the QEMU that it was started in: that boots its old kernel."""
    if not same_run or before is None or facts.boot_id in {None, before}:
        return ()
    return (
        Found(
            Id.REBOOTED_INSIDE,
            Severity.WARNING,
            f"boot {facts.boot_id}; it was {before} when nixvm-loop last looked, in the same run of the domain",
            "the guest was rebooted from within: QEMU boots the kernel and command line of its start again",
            "nixvm-loop rebuild --force starts the domain anew; <on_reboot>destroy</on_reboot> keeps it from happening",
        ),
    )


def _listed(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _SHOWN_PATHS} more" if len(paths) > _SHOWN_PATHS else ""
    return ", ".join(paths[:_SHOWN_PATHS]) + more


async def _ssh(patient: Patient) -> Answer:
    try:
        await patient.connection()
    except NotPossibleError as error:
        if "did not answer within" not in str(error) or "the guest" not in str(error):
            raise
        unanswered = GuestError(str(error), hint="look at its console: nixvm-loop console")
        return Answer("no answer", (judge_reach(unanswered),))
    except GuestError as error:
        return Answer(
            "not let in" if isinstance(error, AccessError | HostKeyError) else "not reached", (judge_reach(error),)
        )
    return Answer("answers, and is the guest")


def _judged(seen: GuestSeen, names: Sequence[str]) -> tuple[Found, ...]:
    return judge_checks([seen.check(name) for name in names])


async def _what_runs(patient: Patient) -> Answer:
    seen = await patient.guest()
    found = _judged(seen, _WHAT_RUNS)
    live = await patient.running()
    last = patient.journal.last_seen()
    same_run = live.mark is not None and last is not None and patient.journal.seen_in_run(live.mark)
    found += judge_reboot(last.boot_id if last else None, seen.facts, same_run=same_run)
    uptime = "" if seen.facts.uptime_s is None else f", up for {format_seconds(seen.facts.uptime_s)}"
    runs = f"generation {seen.generation.number}" if not found else seen.facts.current_system or "an unknown system"
    return Answer(f"{runs}{uptime}", found)


async def _mounts(patient: Patient) -> Answer:
    seen = await patient.guest()
    found = (*_judged(seen, _MOUNTS), *judge_features(seen.facts.store))
    return Answer("share and overlay" if not found else "not as they should be", found)


def _gone_from_here(patient: Patient) -> tuple[str, ...]:
    toplevel = str(patient.generation().toplevel)
    return () if os.path.lexists(toplevel) else (toplevel,)


async def _coherence(patient: Patient) -> Answer:
    await patient.running()
    gone = _gone_from_here(patient)
    if gone:
        # Such a guest may not answer any more.
        return Answer("the system itself is gone", judge_coherence(verify.Unseen((), (), gone, ())))
    seen = await patient.guest()
    if seen.unknown_closure is not None:
        raise NotPossibleError(seen.unknown_closure)
    complete = seen.check("store-complete")
    found = judge_coherence(verify.unseen(seen.expected, seen.facts))
    if complete.outcome is Outcome.FAILED and not found:
        raise NotPossibleError(complete.actual or "the guest did not tell")
    return Answer(f"{len(seen.expected.paths)} store paths asked for", found)


async def _layer(patient: Patient) -> Answer:
    seen = await patient.guest()
    found = _judged(seen, _LAYER)
    if any(one.id == Id.RW_STORE_SPACE for one in found):
        largest = await patient.largest_in_layer(seen.facts.store)
        found = tuple(
            replace(one, evidence=f"{one.evidence}{largest}") if one.id == Id.RW_STORE_SPACE else one for one in found
        )
    kept = "; on tmpfs: a restart empties it" if _is_volatile(seen.facts.layer) else ""
    return Answer(f"filled {seen.check(Id.RW_STORE_SPACE).actual}{kept}", found)


def _is_volatile(layer: Mount | None) -> bool:
    return layer is not None and layer.fs_type in {"tmpfs", "ramfs"}


def judge_inside(answer: str) -> tuple[Found, ...]:
    """What a guest's modules and Nix database come to, by the words that `_INSIDE` has its shell print."""
    words = dict(line.split(" ", 1) for line in answer.splitlines() if " " in line)
    found = []
    if words.get("modules", "").startswith("no "):
        found.append(
            Found(
                Id.KERNEL_MODULES,
                Severity.WARNING,
                f"no {words['modules'].removeprefix('no ')}",
                "the kernel that runs has no modules in the booted system: none can be loaded any more",
                "nixvm-loop rebuild --force boots kernel, initrd and modules of one generation",
            )
        )
    if words.get("database", "").startswith("no "):
        found.append(
            Found(
                Id.NIX_DATABASE,
                Severity.WARNING,
                f"nix-store --check-validity {words['database'].removeprefix('no ')} says no",
                "the guest's Nix does not know the paths of its own system: its garbage collection would delete them",
                "leave nix.gc.automatic off in the guest; nix-store --dump-db here and --load-db there tell it",
            )
        )
    return tuple(found)


async def _inside(patient: Patient) -> Answer:
    answer = await patient.ask_guest(_INSIDE)
    unknown = [word for word in ("modules", "database") if f"{word} none" in answer]
    return Answer(f"nothing to ask: {', '.join(unknown)}" if unknown else "as they should be", judge_inside(answer))


async def _units(patient: Patient) -> Answer:
    check = (await patient.guest()).check(Id.FAILED_UNITS)
    if check.outcome is Outcome.NOT_CHECKED:
        raise NotPossibleError(check.hint or "not checked")
    return Answer(check.actual or "", judge_checks([check]))


PROBES: Final = (
    Probe(Area.GUEST, "ssh", _ssh, _REACHED),
    Probe(Area.GUEST, "system", _what_runs, _VERIFIED),
    Probe(Area.GUEST, "mounts", _mounts, _VERIFIED),
    Probe(Area.GUEST, "coherence", _coherence, _VERIFIED),
    Probe(Area.GUEST, "layer", _layer, _VERIFIED),
    Probe(Area.GUEST, "inside", _inside, _VERIFIED),
    Probe(Area.GUEST, "units", _units, _VERIFIED),
)
