"""DESIGN's checks, in its order: each compares one part of the facts with what was expected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nixvm_loop.model.facts import ProbeResult
from nixvm_loop.model.units import format_bytes, format_seconds
from nixvm_loop.model.values import Action, Check, Outcome
from nixvm_loop.verify.unseen import unseen

if TYPE_CHECKING:
    from collections.abc import Callable

    from nixvm_loop.model.facts import GuestFacts
    from nixvm_loop.verify.expected import Expected

# A guest's clock may run ahead of ours: an emulated one, measured against a busy host's timers, by a tenth and more.
_UPTIME_SLACK_S: Final = 2.0
_UPTIME_DRIFT: Final = 0.25
_SHOWN: Final = 3
_NOTHING: Final = "the guest did not tell"


@dataclass(frozen=True, slots=True)
class _Result:
    outcome: Outcome
    expected: str
    actual: str | None
    hint: str | None = None


def _of(*, passed: bool, expected: str, actual: str | None, hint: str | None = None) -> _Result:
    return _Result(Outcome.PASSED if passed else Outcome.FAILED, expected, actual, None if passed else hint)


def _not_checked(expected: str, why: str) -> _Result:
    return _Result(Outcome.NOT_CHECKED, expected, "not checked", why)


def _boot_id(expected: Expected, facts: GuestFacts) -> _Result:
    if expected.action is Action.RESTART:
        return _new_boot(expected, facts)
    before = expected.previous_boot_id
    if expected.action is Action.SWITCH and before is not None:
        hint = "the guest restarted during the switch: see its console"
        return _of(passed=facts.boot_id == before, expected=f"still boot {before}", actual=_boot(facts), hint=hint)
    return _of(passed=facts.boot_id is not None, expected="any boot", actual=_boot(facts), hint="is /proc mounted?")


def _new_boot(expected: Expected, facts: GuestFacts) -> _Result:
    wanted = "a new boot" if expected.previous_boot_id is None else f"another boot than {expected.previous_boot_id}"
    started = expected.since_start_s
    if started is not None and (facts.uptime_s or 0.0) > started * (1 + _UPTIME_DRIFT) + _UPTIME_SLACK_S:
        return _of(
            passed=False,
            expected=wanted,
            actual=f"up for {format_seconds(facts.uptime_s or 0.0)}, but started {format_seconds(started)} ago",
            hint="what answered is not the domain that was started: does another guest hold its address or port?",
        )
    return _of(
        passed=facts.boot_id is not None and facts.boot_id != expected.previous_boot_id,
        expected=wanted,
        actual=_boot(facts),
        hint="the domain was not really restarted; nixvm-loop rebuild --force tries again",
    )


def _boot(facts: GuestFacts) -> str:
    return _NOTHING if facts.boot_id is None else f"boot {facts.boot_id}"


def _system(expected: Expected, facts: GuestFacts) -> _Result:
    booted, current = str(expected.booted_system), str(expected.system)
    same = booted == current
    return _of(
        passed=facts.booted_system == booted and facts.current_system == current,
        expected=f"booted and current {current}" if same else f"booted {booted}, current {current}",
        actual=f"booted and current {current}"
        if facts.booted_system == facts.current_system == current
        else f"booted {facts.booted_system or 'nothing'}, current {facts.current_system or 'nothing'}",
        hint="another system was booted or switched to meanwhile; nixvm-loop rebuild --force boots the built one",
    )


def _cmdline(expected: Expected, facts: GuestFacts) -> _Result:
    words = expected.cmdline.split()
    actual = (facts.cmdline or "").split()
    inits = [word for word in actual if word.startswith("init=")]
    hint = "a different command line was booted; nixvm-loop rebuild --force puts the generation's into the domain"
    if len(inits) != 1:
        hint = f"there must be exactly one init=, not {len(inits)}"
    return _of(
        passed=actual == words and len(inits) == 1,
        expected=" ".join(words),
        actual=" ".join(actual) or _NOTHING,
        hint=hint,
    )


def _kernel(expected: Expected, facts: GuestFacts) -> _Result:
    release = expected.kernel_release
    named = expected.live_kernel == expected.kernel and expected.live_initrd == expected.initrd
    running = facts.kernel_release is not None and release in {None, facts.kernel_release}
    wanted = f"{expected.kernel} with {expected.initrd}"
    return _of(
        passed=named and running,
        expected=f"release {release}: {wanted}" if release else wanted,
        actual=f"release {facts.kernel_release or 'unknown'}: "
        f"{expected.live_kernel or 'no kernel'} with {expected.live_initrd or 'no initrd'}",
        hint="the domain booted other files than the generation's; nixvm-loop rebuild --force boots those"
        if not named
        else "the kernel that runs is not the one in the image",
    )


def _share(expected: Expected, facts: GuestFacts) -> _Result:
    store, mount = expected.store, facts.share
    return _of(
        passed=mount is not None and mount.fs_type == "virtiofs" and mount.source == store.share,
        expected=f"virtiofs {store.share} on {store.ro_store}",
        actual=f"nothing mounted on {store.ro_store}"
        if mount is None
        else f"{mount.fs_type} {mount.source} on {store.ro_store}",
        hint="the guest's fileSystems must mount the share, and [store] name its tag and place",
    )


def _share_readonly(expected: Expected, facts: GuestFacts) -> _Result:
    mount = facts.share
    mounted = "nothing mounted" if mount is None else "mounted read-only" if mount.read_only else "mounted writable"
    return _of(
        passed=mount is not None and mount.read_only,
        expected="mounted read-only",
        actual=mounted if mount is None else f"{mounted}; {expected.host_share}",
        hint=f'mount {expected.store.ro_store} with the option "ro": the guest could change the host\'s store',
    )


def _overlay(expected: Expected, facts: GuestFacts) -> _Result:
    store, mount = expected.store, facts.store
    wanted = f"overlay on {store.mount_point}: lower {store.ro_store}, upper below {store.rw_store}"
    hint = "the guest's fileSystems must put an overlay of both on the store, and [store] name their places"
    if mount is None:
        return _of(passed=False, expected=wanted, actual=f"nothing mounted on {store.mount_point}", hint=hint)
    upper = mount.super_options.get("upperdir", "")
    below = upper.startswith(f"{store.rw_store.rstrip('/')}/") and ".." not in upper.split("/")
    whole = mount.root == "/"
    lowers = ":".join(mount.lower_layers) or "none"
    layers = f": lower {lowers}, upper {upper or 'none'}" if mount.fs_type == "overlay" else ""
    return _of(
        passed=mount.fs_type == "overlay" and whole and mount.lower_layers == (store.ro_store,) and below,
        expected=wanted,
        actual=f"{mount.fs_type} on {store.mount_point}{layers}" + ("" if whole else f", only its {mount.root}"),
        hint=hint,
    )


def _complete(expected: Expected, facts: GuestFacts) -> _Result:
    wanted = f"{_count(len(expected.paths), 'store path')} seen through {expected.store.mount_point}"
    if facts.paths_checked is None:
        return _of(passed=False, expected=wanted, actual=_NOTHING, hint="can its store be entered at all?")
    missing, not_seen = facts.missing_paths, unseen(expected, facts)
    parts = [
        f"{facts.paths_checked - len(missing)} seen",
        *_named("hidden by the overlay: ", not_seen.hidden),
        *_named("stale in the overlay: ", not_seen.stale),
        *_named("gone from the host's store: ", not_seen.gone),
        *_named("missing ", not_seen.absent),
    ]
    hint = "does the share serve this host's store?"
    if not_seen.gone:
        hint = "they were deleted under the guest: nixvm-loop rebuild builds them again"
    elif not_seen.hidden or not_seen.stale:
        hint = "nixvm-loop verify --refresh has the guest look anew: it knew them from before they changed"
    return _of(
        passed=not missing and facts.paths_checked == len(expected.paths),
        expected=wanted,
        actual=", ".join(parts),
        hint=hint,
    )


def _named(what: str, paths: tuple[str, ...]) -> list[str]:
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return [f"{what}{', '.join(paths[:_SHOWN])}{more}"] if paths else []


def _write(expected: Expected, facts: GuestFacts) -> _Result:
    wanted = f"a file can be made and removed in {expected.store.mount_point}"
    probe = facts.store_write
    if probe is None:
        return _of(passed=False, expected=wanted, actual=_NOTHING, hint="is the guest's shell a POSIX one?")
    if probe.result is ProbeResult.NO_MEANS:
        return _not_checked(wanted, probe.message or "it takes unshare and mount in the guest, and root")
    return _of(
        passed=probe.result is ProbeResult.WRITTEN,
        expected=wanted,
        actual=" ".join(filter(None, (probe.result.value, probe.message))),
        hint=f"the writable layer on {expected.store.rw_store} is full, missing or read-only",
    )


def _space(expected: Expected, facts: GuestFacts) -> _Result:
    store, space = expected.store, facts.rw_store
    wanted = f"{store.rw_store} filled less than {store.warn_at:.0%}"
    if space is None and "stat" in facts.lacks:
        return _not_checked(wanted, "the guest has no stat")
    if space is None:
        return _of(passed=False, expected=wanted, actual=_NOTHING, hint=f"is there a {store.rw_store} in the guest?")
    bytes_full = space.used_bytes / space.size_bytes if space.size_bytes else 1.0
    inodes_full = space.used_inodes / space.inodes if space.inodes else 0.0
    return _of(
        passed=max(bytes_full, inodes_full) < store.warn_at,
        expected=wanted,
        actual=f"{bytes_full:.0%} of {format_bytes(space.size_bytes)}, {inodes_full:.0%} of {space.inodes} inodes",
        hint="restart the guest if the layer is on tmpfs, give it more memory, or a disk",
    )


def _units(_expected: Expected, facts: GuestFacts) -> _Result:
    wanted = "the start-up is over and no unit failed"
    if facts.system_state is None:
        return _not_checked(wanted, "the guest has no systemd")
    if facts.failed_units:
        shown = ", ".join(facts.failed_units[:_SHOWN])
        more = f" and {len(facts.failed_units) - _SHOWN} more" if len(facts.failed_units) > _SHOWN else ""
        hint = f"nixvm-loop ssh systemctl status {facts.failed_units[0]}"
        return _of(passed=False, expected=wanted, actual=f"failed: {shown}{more}", hint=hint)
    return _of(
        passed=facts.system_state == "running",
        expected=wanted,
        actual=facts.system_state,
        hint="nixvm-loop ssh systemctl list-jobs shows what the start-up waits for",
    )


@dataclass(frozen=True, slots=True)
class _Rule:
    id: str
    judge: Callable[[Expected, GuestFacts], _Result]
    required: bool = True


_RULES: Final = (
    _Rule("boot-id", _boot_id),
    _Rule("system", _system),
    _Rule("cmdline", _cmdline),
    _Rule("kernel", _kernel),
    _Rule("store-share", _share),
    _Rule("store-share-readonly", _share_readonly),
    _Rule("store-overlay", _overlay),
    _Rule("store-complete", _complete),
    _Rule("store-write", _write),
    _Rule("rw-store-space", _space, required=False),
    _Rule("failed-units", _units, required=False),
)
CHECK_IDS: Final = tuple(rule.id for rule in _RULES)


def checks(expected: Expected, facts: GuestFacts) -> tuple[Check, ...]:
    """All of DESIGN's checks but those of `--deep`, in DESIGN's order."""
    required = {setting.name: setting.required for setting in expected.settings if setting.command is None}
    found = ((rule, rule.judge(expected, facts)) for rule in _RULES)
    return tuple(
        Check(
            id=rule.id,
            outcome=result.outcome,
            required=required.get(rule.id, rule.required),
            expected=result.expected,
            actual=result.actual,
            hint=result.hint,
        )
        for rule, result in found
    )


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
