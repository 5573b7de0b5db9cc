from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from nixvm_loop.errors import GuestError
from nixvm_loop.guest.hostkeys import Judgement, Known, announced_key, judge, parse_known_hosts
from nixvm_loop.model.settings import HostKeyPolicy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nixvm_loop.guest import HostKeys


def made(name: str, key_type: str = "ssh-ed25519") -> str:
    """A host key as `TYPE KEY`."""
    kind = key_type.encode()
    blob = len(kind).to_bytes(4, "big") + kind + (4).to_bytes(4, "big") + name.encode().ljust(4)
    return f"{key_type} {base64.b64encode(blob).decode()}"


OURS, THEIRS = made("ours"), made("them")
AUTO, PINNED, OFF = HostKeyPolicy.AUTO, HostKeyPolicy.PINNED, HostKeyPolicy.OFF
ACCEPT, REFUSE, WAIT = Judgement.ACCEPT, Judgement.REFUSE, Judgement.WAIT
HELD = Known(frozenset({OURS}), "boot-1")
SAID = Known(frozenset({OURS}), "boot-1", announced=True)
HERE = Known(frozenset({OURS}))


@pytest.mark.parametrize(
    ("policy", "heard", "known", "boot", "verdicts"),
    [
        (OFF, frozenset(), SAID, "boot-1", (ACCEPT, ACCEPT)),
        (PINNED, frozenset(), HERE, "boot-2", (ACCEPT, REFUSE)),
        (PINNED, frozenset(), Known(), "boot-2", (REFUSE, REFUSE)),
        (PINNED, frozenset({THEIRS}), HERE, "boot-2", (ACCEPT, REFUSE)),
        (AUTO, frozenset({OURS}), Known(), "boot-1", (ACCEPT, REFUSE)),
        (AUTO, frozenset({OURS}), Known(frozenset({THEIRS}), "boot-1"), "boot-1", (ACCEPT, REFUSE)),
        (AUTO, frozenset(), Known(), "boot-1", (ACCEPT, ACCEPT)),
        (AUTO, frozenset(), HELD, "boot-1", (ACCEPT, REFUSE)),
        (AUTO, frozenset(), HELD, "boot-2", (ACCEPT, ACCEPT)),
        (AUTO, frozenset(), SAID, "boot-1", (ACCEPT, REFUSE)),
        (AUTO, frozenset(), SAID, "boot-2", (WAIT, WAIT)),
        (AUTO, frozenset(), SAID, None, (ACCEPT, REFUSE)),
        (AUTO, frozenset(), HELD, None, (ACCEPT, REFUSE)),
        (AUTO, frozenset(), HERE, None, (ACCEPT, REFUSE)),
        (AUTO, frozenset(), HERE, "boot-2", (ACCEPT, ACCEPT)),
        (AUTO, frozenset(), Known(), None, (ACCEPT, ACCEPT)),
        (AUTO, frozenset(), Known(announced=True, boot="boot-1"), "boot-1", (WAIT, WAIT)),
    ],
)
def test_who_is_trusted(
    policy: HostKeyPolicy,
    heard: frozenset[str],
    known: Known,
    boot: str | None,
    verdicts: tuple[Judgement, Judgement],
) -> None:
    """The rules of DESIGN, one a row: what happens to the guest's own key and to a stranger's."""
    shown = (judge(policy, shown=key, heard=heard, known=known, boot=boot) for key in (OURS, THEIRS))
    assert tuple(shown) == verdicts


@pytest.mark.parametrize(
    "line",
    [
        f"nixvm-loop-host-key: {OURS}",
        f"nixvm-loop-host-key: {OURS}\r",
        f"nixvm-loop-host-key: {OURS} root@demo",
        f"\x1b[0m\x1b[?25h\r nixvm-loop-host-key: {OURS}",
        # What a real systemd puts in front of the first line after it.
        f"\x1b[!p\x1b]104\x07\x1b[?7hnixvm-loop-host-key: {OURS} ",
    ],
)
def test_an_announcement_is_heard(line: str) -> None:
    """A terminal's control sequences before it and a comment after it do no harm."""
    assert announced_key(line) == OURS


@pytest.mark.parametrize(
    "line",
    [
        "",
        OURS,
        f"nixvm-loop-host-key:{OURS}",
        "nixvm-loop-host-key: ssh-ed25519 !!!",
        "nixvm-loop-host-key: ssh-ed25519 QUJD",
        f"nixvm-loop-host-key: ssh-rsa {OURS.split()[1]}",
        f"sshd: Invalid user nixvm-loop-host-key: {OURS} from 10.0.2.2",
        f"x nixvm-loop-host-key: {OURS}",
    ],
)
def test_other_lines_announce_nothing(line: str) -> None:
    """A key that is none, or that stands in a line which a stranger could have caused, is not believed."""
    assert announced_key(line) is None


def test_what_was_announced_is_kept_for_the_boot(tmp_path: Path, host_keys: Callable[..., HostKeys]) -> None:
    """Another process holds the guest to it, `ssh` finds it, and nobody else may read the file."""
    keys = host_keys()
    assert not keys.known
    assert keys.hear(f"nixvm-loop-host-key: {OURS}")
    assert keys.announced.is_set()
    later = host_keys()
    assert later.known
    assert (later.judge(OURS), later.judge(THEIRS)) == (ACCEPT, REFUSE)
    assert host_keys(boot="boot-2").judge(OURS) is WAIT
    file = tmp_path / "ssh" / "known_hosts"
    assert f"demo {OURS}\n" in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600


def test_each_boot_announces_anew(host_keys: Callable[..., HostKeys]) -> None:
    """A key of the boot before is not accepted in the next one."""
    keys = host_keys()
    keys.hear(f"nixvm-loop-host-key: {OURS}")
    keys.begin("boot-2")
    assert not keys.announced.is_set()
    assert keys.judge(OURS) is WAIT
    keys.hear(f"nixvm-loop-host-key: {THEIRS}")
    assert (keys.judge(OURS), keys.judge(THEIRS)) == (REFUSE, ACCEPT)


async def test_first_sight_holds_for_the_boot(host_keys: Callable[..., HostKeys]) -> None:
    """A guest that is met first may yet announce a key; one that does not is held to the first key it showed."""
    keys = host_keys(first_meeting_wait_s=0.1)
    assert keys.judge(OURS) is WAIT
    await keys.announcement()
    assert keys.judge(OURS) is ACCEPT
    keys.accepted(OURS)
    assert (host_keys().judge(OURS), host_keys().judge(THEIRS)) == (ACCEPT, REFUSE)
    assert host_keys(boot="boot-2").judge(THEIRS) is ACCEPT


async def test_a_stranger_who_answers_before_the_guest_spoke_is_refused(host_keys: Callable[..., HostKeys]) -> None:
    """Even at the very first boot, whoever was faster than the guest is not believed."""
    keys = host_keys(first_meeting_wait_s=0.1)
    assert keys.judge(THEIRS) is WAIT
    keys.hear(f"nixvm-loop-host-key: {OURS}")
    await keys.announcement()
    assert (keys.judge(OURS), keys.judge(THEIRS)) == (ACCEPT, REFUSE)


def test_an_announcement_overrules_first_sight(host_keys: Callable[..., HostKeys]) -> None:
    """Whoever was believed before the guest spoke is a stranger once it names another key."""
    keys = host_keys()
    keys.accepted(THEIRS)
    keys.hear(f"nixvm-loop-host-key: {OURS}")
    assert (keys.judge(OURS), keys.judge(THEIRS)) == (ACCEPT, REFUSE)


@pytest.mark.parametrize("policy", [PINNED, OFF])
def test_pinned_and_off_write_nothing(
    tmp_path: Path, host_keys: Callable[..., HostKeys], policy: HostKeyPolicy
) -> None:
    """The user's known_hosts stays as it is."""
    keys = host_keys(policy)
    assert not keys.hear(f"nixvm-loop-host-key: {OURS}")
    keys.accepted(OURS)
    assert not (tmp_path / "ssh").exists()


def test_a_flood_of_announcements_ends(host_keys: Callable[..., HostKeys]) -> None:
    """A guest gone mad does not grow the file for ever."""
    keys = host_keys()
    heard = [keys.hear(f"nixvm-loop-host-key: {made(str(number))}") for number in range(20)]
    assert heard == [True] * 16 + [False] * 4


def test_the_algorithms_fit_the_keys(host_keys: Callable[..., HostKeys]) -> None:
    """Unless RSA is known to be wanted it is not asked for: it makes some sshds abort."""
    keys = host_keys()
    asked = [keys.algorithms]
    keys.hear(f"nixvm-loop-host-key: {made('r', 'ssh-rsa')}")
    asked.append(keys.algorithms)
    keys.begin("boot-2")
    asked.append(keys.algorithms)
    keys.hear(f"nixvm-loop-host-key: {OURS}")
    asked.append(keys.algorithms)
    rsa = ("rsa-sha2-512", "rsa-sha2-256")
    assert asked == [("ssh-ed25519", "ecdsa-sha2-nistp256"), rsa, rsa, ("ssh-ed25519",)]


@pytest.mark.parametrize("comment", ["", "# nixvm-loop: {", "# nixvm-loop: []", '# nixvm-loop: {"boot": 3}', "# other"])
def test_a_known_hosts_by_hand_is_read(comment: str) -> None:
    """Other guests, markers, comments and garbage are passed over; a damaged comment loses only what it said."""
    text = f"{comment}\nother,demo {OURS} me\n@revoked demo {THEIRS}\nother {THEIRS}\ndemo\n#demo {THEIRS}\n"
    assert parse_known_hosts(text, "demo") == Known(frozenset({OURS}))


def test_an_unreadable_file_is_told(tmp_path: Path, host_keys: Callable[..., HostKeys]) -> None:
    """A folder in its place is a clear error, when read and when written."""
    (tmp_path / "ssh" / "known_hosts").mkdir(parents=True)
    with pytest.raises(GuestError, match="known_hosts cannot be read"):
        host_keys()
    (tmp_path / "ssh" / "known_hosts").rmdir()
    keys = host_keys()
    (tmp_path / "ssh" / "known_hosts" / "x").mkdir(parents=True)
    with pytest.raises(GuestError, match="cannot be kept"):
        keys.hear(f"nixvm-loop-host-key: {OURS}")
