from __future__ import annotations

from dataclasses import replace

import pytest
from inline_snapshot import snapshot

from nixvm_loop.events import types as ev
from nixvm_loop.model.values import Verdict
from nixvm_loop.present import checks, status
from nixvm_loop.present.words import age
from tests.present.scenario import FAILED_CHECK, HOSTILE, check

STATUS = ev.Status(
    domain="demo",
    state="running",
    domain_error=None,
    built=8,
    current=7,
    booted=7,
    booted_system="/nix/store/abc-nixos-system-demo",
    runs=7,
    runs_system="/nix/store/abc-nixos-system-demo",
    booted_age_seconds=185.0,
    last_verdict=Verdict.FAILED,
    last_cycle=12,
    last_cycle_age_seconds=7300.0,
    last_error="attribute 'foo' missing",
    store_used_bytes=412 * 2**20,
    store_size_bytes=2**30,
    store_used_inodes=1200,
    store_inodes=65536,
    holder="pid 4711 (watch)",
)
NOTHING = ev.Status(
    "demo",
    "unknown",
    "libvirt is not running",
    None,
    None,
    None,
    None,
    None,
    None,
    None,
    None,
    None,
    None,
    None,
    None,
    None,
    None,
    None,
    None,
)


def test_status_in_full() -> None:
    """Everything that is known is said, ages in words."""
    assert status.text(STATUS, "demo") == snapshot("""\
guest        demo
domain       demo: running
generation   built 8, current 7, booted 7
booted       /nix/store/abc-nixos-system-demo, seen 3 minutes ago
last cycle   12 failed, 2 hours ago
last error   attribute 'foo' missing
store layer  412.0 MiB of 1.0 GiB used (40%), 2% of the inodes
held by      pid 4711 (watch)\
""")


def test_status_that_knows_nothing() -> None:
    """What is not known is said to be unknown, and the reason why libvirt did not answer is shown."""
    assert status.text(NOTHING, None) == snapshot("""\
guest        unknown
domain       demo: unknown (libvirt is not running)
generation   none yet
booted       never seen
last cycle   none yet
store layer  unknown\
""")


def test_status_is_harmless() -> None:
    """A hostile domain state or error cannot reach the terminal."""
    text = status.text(replace(STATUS, state=HOSTILE, last_error=HOSTILE, holder=HOSTILE), HOSTILE)
    assert text.replace("\n", "").replace("\ufffd", "").isprintable()
    assert len(text.split("\n")) == 8


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3.0, "just now"),
        (59.9, "just now"),
        (60.0, "1 minute ago"),
        (7199.0, "1 hour ago"),
        (7200.0, "2 hours ago"),
        (90000.0, "1 day ago"),
    ],
)
def test_age(seconds: float, words: str) -> None:
    """Ages are told in the largest unit that is full."""
    assert age(seconds) == words


def test_checks() -> None:
    """Each check has a line; those that did not pass say why and what to do."""
    unknown = ev.CheckFinished("failed-units", None, False, "none", "not checked", "no systemd in the guest")
    space = ev.CheckFinished("rw-store-space", False, False, "below 80%", "93%", None)
    given = [check("system", "/nix/store/abc"), FAILED_CHECK, space, unknown]
    assert "\n".join(line for one in given for line in checks.check_lines(one)) == snapshot("""\
ok           system                /nix/store/abc
failed       store-overlay
             expected: overlay on /nix/store, lower /nix/.ro-store
             actual:   virtiofs
             hint:     the overlay is missing from the guest's initrd
warning      rw-store-space
             expected: below 80%
             actual:   93%
not checked  failed-units
             hint: no systemd in the guest\
""")


def test_a_layer_that_grows() -> None:
    """How much came in the last cycle, and that it is nearly full."""
    grown = replace(STATUS, store_grown_bytes=12 * 2**20, store_nearly_full=True)
    line = next(text for label, text in status.lines(grown, "demo") if label == "store layer")
    assert line.endswith(", 12.0 MiB more since the last cycle; nearly full: nixvm-loop doctor names what fills it")
    shrunk = replace(STATUS, store_grown_bytes=-5, store_nearly_full=False)
    assert status.lines(shrunk, "demo") == status.lines(STATUS, "demo")
