from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixvm_loop.model.facts import GuestFacts, Mount, ProbeResult, Space, WriteProbe
from nixvm_loop.model.settings import CheckSettings
from nixvm_loop.model.values import Action, Check, Outcome
from nixvm_loop.verify import Expected, HostShare, checks, failure

SYSTEM = Path("/nix/store/1-system")
OLD = Path("/nix/store/0-system")
CMDLINE = f"console=ttyS0 init={SYSTEM}/init"
EXPECTED = Expected(
    action=Action.RESTART,
    system=SYSTEM,
    booted_system=SYSTEM,
    cmdline=CMDLINE,
    kernel=Path("/nix/store/1-linux/bzImage"),
    initrd=Path("/nix/store/1-initrd/initrd"),
    live_kernel=Path("/nix/store/1-linux/bzImage"),
    live_initrd=Path("/nix/store/1-initrd/initrd"),
    kernel_release="6.1.0",
    previous_boot_id="old-boot",
    since_start_s=9.0,
    host_share=HostShare.REFUSES,
    paths=(str(SYSTEM), "/nix/store/2-x"),
)
SHARE = Mount(26, 25, "/", "/nix/.ro-store", frozenset({"ro"}), "virtiofs", "nix-store-share", {"ro": ""})
STORE = Mount(
    31,
    30,
    "/",
    "/nix/store",
    frozenset({"ro"}),
    "overlay",
    "overlay",
    {"rw": "", "lowerdir": "/nix/.ro-store", "upperdir": "/nix/.rw-store/upper", "workdir": "/nix/.rw-store/work"},
)
SOUND = GuestFacts(
    boot_id="new-boot",
    uptime_s=8.0,
    booted_system=str(SYSTEM),
    current_system=str(SYSTEM),
    cmdline=CMDLINE,
    kernel_release="6.1.0",
    share=SHARE,
    store=STORE,
    rw_store=Space(used_bytes=10, size_bytes=100, used_inodes=1, inodes=100),
    store_write=WriteProbe(ProbeResult.WRITTEN),
    paths_checked=2,
    system_state="running",
)
IDS = (
    "boot-id",
    "system",
    "cmdline",
    "kernel",
    "store-share",
    "store-share-readonly",
    "store-overlay",
    "store-complete",
    "store-write",
    "rw-store-space",
    "failed-units",
)


def outcomes(expected: Expected, facts: GuestFacts) -> dict[str, Outcome]:
    """Each check's outcome by its id."""
    return {check.id: check.outcome for check in checks(expected, facts)}


def failed(expected: Expected, facts: GuestFacts) -> set[str]:
    """The ids of the checks that failed."""
    return {name for name, outcome in outcomes(expected, facts).items() if outcome is Outcome.FAILED}


def check(check_id: str, expected: Expected = EXPECTED, facts: GuestFacts = SOUND) -> Check:
    """One check."""
    return next(check for check in checks(expected, facts) if check.id == check_id)


def test_a_sound_guest_is_all_green_in_designs_order() -> None:
    """Every check is there, in the order of the documents, and passes without a hint."""
    found = checks(EXPECTED, SOUND)
    assert tuple(check.id for check in found) == IDS
    assert {check.outcome for check in found} == {Outcome.PASSED}
    assert [check.id for check in found if not check.required] == ["rw-store-space", "failed-units"]
    assert {check.hint for check in found} == {None}
    assert failure(found) is None


# What may be wrong with each fact, and the check that must notice it.
WRONGS: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "boot_id": ("boot-id", st.sampled_from([None, "old-boot"])),
    "uptime_s": ("boot-id", st.floats(min_value=13.5, max_value=1e9)),
    "booted_system": ("system", st.none() | st.text().filter(lambda text: text != str(SYSTEM))),
    "current_system": ("system", st.none() | st.text().filter(lambda text: text != str(SYSTEM))),
    "cmdline": ("cmdline", st.none() | st.text().filter(lambda text: text.split() != CMDLINE.split())),
    "kernel_release": ("kernel", st.none() | st.text().filter(lambda text: text != "6.1.0")),
    "share": (
        "store-share",
        st.none() | st.builds(replace, st.just(SHARE), source=st.text().filter(lambda text: text != SHARE.source)),
    ),
    "store": (
        "store-overlay",
        st.none()
        | st.sampled_from(["tmpfs", "virtiofs", ""]).map(lambda fs: replace(STORE, fs_type=fs))
        | st.sampled_from(["", "/nix/.rw-store", "/nix/.ro-store:/other", "/other:/nix/.ro-store"]).map(
            lambda lower: replace(STORE, super_options={**STORE.super_options, "lowerdir": lower})
        )
        | st.sampled_from(["", "/upper", "/nix/.rw-store2/upper", "/nix/.rw-store", "/nix/.rw-store/../x"]).map(
            lambda upper: replace(STORE, super_options={**STORE.super_options, "upperdir": upper})
        )
        | st.just(replace(STORE, root="/part")),
    ),
    "rw_store": (
        "rw-store-space",
        st.none()
        | st.integers(80, 100).map(lambda used: Space(used, 100, 0, 100))
        | st.integers(80, 100).map(lambda used: Space(0, 100, used, 100)),
    ),
    "store_write": ("store-write", st.none() | st.text().map(lambda said: WriteProbe(ProbeResult.REFUSED, said))),
    "paths_checked": ("store-complete", st.none() | st.integers().filter(lambda count: count != 2)),
    "missing_paths": ("store-complete", st.lists(st.text(), min_size=1).map(tuple)),
    "system_state": ("failed-units", st.sampled_from(["starting", "degraded", "maintenance", "unknown", ""])),
    "failed_units": ("failed-units", st.lists(st.text(), min_size=1).map(tuple)),
}


@given(st.data())
def test_any_one_wrong_fact_is_never_green(data: st.DataObject) -> None:
    """Promise 1: whatever single fact is wrong or missing, its check fails."""
    fact = data.draw(st.sampled_from(sorted(WRONGS)))
    check_id, wrong = WRONGS[fact]
    found = checks(EXPECTED, replace(SOUND, **{fact: data.draw(wrong)}))
    assert check_id in {check.id for check in found if check.outcome is Outcome.FAILED}
    assert failure(found) is not None


def test_every_fact_that_can_be_wrong_is_tried() -> None:
    """A fact added later must get its wrong values above, unless it ends a look or is no part of its soundness."""
    kinds_of_missing = {"hidden_paths", "stale_paths"}
    told = {"lacks", "is_root", "has_nix", "listens", "layer", *kinds_of_missing}
    assert set(WRONGS) == set(GuestFacts.__dataclass_fields__) - told


@pytest.mark.parametrize(
    ("facts", "gone", "actual", "hint"),
    [
        ({"hidden_paths": ("/a",)}, (), "1 seen, hidden by the overlay: /a", "--refresh"),
        ({"stale_paths": ("/a",)}, (), "1 seen, stale in the overlay: /a", "--refresh"),
        ({"stale_paths": ("/a",)}, ("/a",), "1 seen, gone from the host's store: /a", "rebuild builds them again"),
        ({}, ("/a",), "1 seen, gone from the host's store: /a", "rebuild builds them again"),
        ({}, (), "1 seen, missing /a", "does the share serve this host's store"),
    ],
)
def test_why_a_path_is_not_seen(facts: dict[str, Any], gone: tuple[str, ...], actual: str, hint: str) -> None:
    """What the overlay hides, what it knows from before, and what the host has lost are told apart."""
    shown = replace(SOUND, missing_paths=("/a",), **facts)
    found = next(one for one in checks(replace(EXPECTED, gone=frozenset(gone)), shown) if one.id == "store-complete")
    assert (found.outcome, found.actual) == (Outcome.FAILED, actual)
    assert hint in str(found.hint)


@given(
    st.sampled_from(["live_kernel", "live_initrd"]),
    st.none() | st.sampled_from([Path("/nix/store/0-linux/bzImage"), Path("/boot/vmlinuz")]),
)
def test_other_files_booted_are_never_green(field: str, value: Path | None) -> None:
    """The live XML must lead to the generation's kernel and initrd."""
    change: dict[str, Any] = {field: value}
    assert failed(replace(EXPECTED, **change), SOUND) == {"kernel"}


def test_a_writable_share_fails_and_says_what_the_host_does() -> None:
    """Mounted writable fails even if the host refuses; the host's part is told in both cases."""
    writable = replace(SOUND, share=replace(SHARE, options=frozenset({"rw"}), super_options={"rw": ""}))
    assert failed(EXPECTED, writable) == {"store-share-readonly"}
    assert check("store-share-readonly").actual == "mounted read-only; the host refuses writes too"
    lax = check("store-share-readonly", replace(EXPECTED, host_share=HostShare.ALLOWS))
    assert lax.outcome is Outcome.PASSED
    assert lax.actual == "mounted read-only; but the host would let root in the guest write"


@pytest.mark.parametrize("extra", [" init=/other", " quiet", ""])
def test_the_command_line_is_compared_whole(extra: str) -> None:
    """A second init=, or a word more, is another command line; blanks are not."""
    facts = replace(SOUND, cmdline=f"  {CMDLINE.replace(' ', '   ')}{extra}")
    assert failed(EXPECTED, facts) == ({"cmdline"} if extra else set())


def test_two_inits_fail_even_if_the_generation_has_them() -> None:
    """Exactly one init=, whatever was asked for."""
    twice = f"{CMDLINE} init=/x"
    assert failed(replace(EXPECTED, cmdline=twice), replace(SOUND, cmdline=twice)) == {"cmdline"}


def test_a_first_boot_is_a_new_boot() -> None:
    """Without an earlier boot to compare with any boot is new, as long as it is not older than the start."""
    first = replace(EXPECTED, previous_boot_id=None)
    assert failed(first, SOUND) == set()
    assert failed(first, replace(SOUND, uptime_s=300.0)) == {"boot-id"}
    assert failed(replace(first, since_start_s=None), replace(SOUND, uptime_s=300.0)) == set()


def test_after_a_switch_the_booted_system_stays() -> None:
    """A switch changes what is current, and neither what is booted nor the boot."""
    switched = replace(EXPECTED, action=Action.SWITCH, booted_system=OLD, since_start_s=None)
    facts = replace(SOUND, boot_id="old-boot", booted_system=str(OLD), uptime_s=999.0)
    assert failed(switched, facts) == set()
    assert failed(switched, replace(facts, boot_id="new-boot")) == {"boot-id"}
    assert failed(switched, replace(facts, booted_system=str(SYSTEM))) == {"system"}
    assert failed(switched, replace(facts, current_system=str(OLD))) == {"system"}


def test_nothing_done_needs_no_new_boot() -> None:
    """An untouched guest may still be in the boot that was verified before, or in one that the user made."""
    untouched = replace(EXPECTED, action=Action.NONE, since_start_s=None)
    for boot in ("old-boot", "another"):
        assert failed(untouched, replace(SOUND, boot_id=boot, uptime_s=1e6)) == set()
    assert failed(untouched, replace(SOUND, boot_id=None)) == {"boot-id"}


def test_an_image_that_tells_no_release_is_judged_by_its_file() -> None:
    """Only a known release is compared, but the guest must tell the one that runs."""
    unknown = replace(EXPECTED, kernel_release=None)
    assert failed(unknown, replace(SOUND, kernel_release="9.9")) == set()
    assert failed(unknown, replace(SOUND, kernel_release=None)) == {"kernel"}


def test_missing_means_are_not_checked_and_not_failed() -> None:
    """Without unshare, stat or systemd three checks say `not checked`, each why."""
    facts = replace(
        SOUND,
        store_write=WriteProbe(ProbeResult.NO_MEANS, "sh: unshare: not found"),
        rw_store=None,
        lacks=("stat",),
        system_state=None,
    )
    found = {check.id: check for check in checks(EXPECTED, facts) if check.outcome is not Outcome.PASSED}
    assert set(found) == {"store-write", "rw-store-space", "failed-units"}
    assert {(check.outcome, check.ok, check.actual) for check in found.values()} == {
        (Outcome.NOT_CHECKED, None, "not checked")
    }
    assert all(check.hint for check in found.values())
    assert failure(found.values()) is None


def test_inodes_without_a_limit_do_not_count() -> None:
    """A file system such as btrfs has no number of inodes."""
    assert failed(EXPECTED, replace(SOUND, rw_store=Space(1, 100, 5, 0))) == set()


def test_the_config_says_what_is_required() -> None:
    """A check setting without a command changes whether a built-in check is required."""
    settings = (
        CheckSettings("store-write", required=False),
        CheckSettings("failed-units", required=True),
        CheckSettings("kernel", command="true", required=False),
    )
    required = {check.id: check.required for check in checks(replace(EXPECTED, settings=settings), SOUND)}
    assert (required["store-write"], required["failed-units"], required["kernel"]) == (False, True, True)


def test_texts_name_what_is_wrong() -> None:
    """A person can tell from expected and actual what to look at."""
    missing = replace(SOUND, missing_paths=tuple(f"/nix/store/{n}-x" for n in range(5)), paths_checked=2)
    assert check("store-complete", facts=replace(missing, paths_checked=9)).actual == (
        "4 seen, missing /nix/store/0-x, /nix/store/1-x, /nix/store/2-x and 2 more"
    )
    assert check("system", facts=replace(SOUND, booted_system=str(OLD))).actual == f"booted {OLD}, current {SYSTEM}"
    assert check("rw-store-space").actual == "10% of 100 B, 1% of 100 inodes"
    assert check("store-overlay", facts=replace(SOUND, store=None)).actual == "nothing mounted on /nix/store"
