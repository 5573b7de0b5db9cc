"""How a guest proves that it is the guest: by what it announced on its own console, or by what was learnt before."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Final

from nixvm_loop.errors import GuestError, HostKeyError, PinnedKeyError
from nixvm_loop.guest.keys import write_private
from nixvm_loop.model.settings import HostKeyPolicy

if TYPE_CHECKING:
    from pathlib import Path

_FILE: Final = "known_hosts"
_COMMENT: Final = "# nixvm-loop: "
# At the start of its line, after nothing but control sequences: a guest may well log what a stranger sent it.
_ANNOUNCEMENT: Final = re.compile(
    r"(?:\x1b\[[0-9;?!]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x20])*"
    r"nixvm-loop-host-key: (?P<type>[a-z0-9@.-]+) (?P<key>[A-Za-z0-9+/]+={0,2})(?:\s.*)?",
    re.DOTALL,
)
_FIRST_MEETING_WAIT_S: Final = 10.0
_MAX_ANNOUNCED: Final = 16
_LENGTH_BYTES: Final = 4
_ALGORITHMS: Final = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}
# No RSA unless it is known to be wanted: some versions of dropbear abort when asked for a key that they do not have.
_USUAL_ALGORITHMS: Final = ("ssh-ed25519", "ecdsa-sha2-nistp256")


class Judgement(Enum):
    """What to do about the key that was shown."""

    ACCEPT = "accept"
    REFUSE = "refuse"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Known:
    """What known_hosts holds for the guest; keys are written `TYPE KEY`.

    Attributes:
        boot: The boot that the keys were shown in, None when that is not known.
        announced: Whether the guest announced them on its console.
    """

    keys: frozenset[str] = frozenset()
    boot: str | None = None
    announced: bool = False


def judge(policy: HostKeyPolicy, *, shown: str, heard: frozenset[str], known: Known, boot: str | None) -> Judgement:
    """Whether the key `shown` is the guest's.

    `heard` is what the guest announced in this boot, as far as its console was read; `boot` the boot that is running,
    None when nixvm-loop did not start it.
    """
    if policy is HostKeyPolicy.OFF:
        return Judgement.ACCEPT
    if policy is HostKeyPolicy.PINNED:
        return _one_of(shown, known.keys)
    trusted = heard or (known.keys if boot in {None, known.boot} else frozenset())
    if trusted:
        return _one_of(shown, trusted)
    return Judgement.WAIT if known.announced and boot is not None else Judgement.ACCEPT


def _one_of(shown: str, keys: frozenset[str]) -> Judgement:
    return Judgement.ACCEPT if shown in keys else Judgement.REFUSE


def announced_key(line: str) -> str | None:
    """The key, as `TYPE KEY`, that a console line announces; None for any other line."""
    match = _ANNOUNCEMENT.fullmatch(line)
    if match is None or not _holds_type(match["key"], match["type"]):
        return None
    return f"{match['type']} {match['key']}"


def _holds_type(key: str, key_type: str) -> bool:
    try:
        blob = base64.b64decode(key, validate=True)
    except binascii.Error:
        return False
    length = int.from_bytes(blob[:_LENGTH_BYTES], "big")
    return blob[_LENGTH_BYTES : _LENGTH_BYTES + length] == key_type.encode("ascii")


def wrong_host_key(name: str, policy: HostKeyPolicy) -> HostKeyError:
    """The error for a key that is not the guest's."""
    if policy is HostKeyPolicy.PINNED:
        return PinnedKeyError(
            f"what answers SSH for guest {name} shows a host key that known_hosts does not hold",
            hint=f'write the right key into ssh/known_hosts of its state as "{name} TYPE KEY", '
            'or let nixvm-loop learn it with host_key = "auto"',
        )
    return HostKeyError(
        f"what answers SSH for guest {name} does not show the guest's host key",
        hint="another program or guest may hold its address or port; if the guest itself was started anew "
        "without nixvm-loop and has a new key, nixvm-loop rebuild --force learns it",
    )


class HostKeys:
    """A guest's host keys: what its console said in this boot, and what is kept in `folder`/known_hosts.

    Attributes:
        announced: Set when the guest has announced a key in this boot.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        policy: HostKeyPolicy,
        *,
        boot: str | None = None,
        first_meeting_wait_s: float = _FIRST_MEETING_WAIT_S,
    ) -> None:
        """Read what is kept in `folder` for the guest `name`.

        `first_meeting_wait_s` is how long a guest of which nothing is known may take to announce a key, once something
        answers for it, before it counts as one that never does.

        Raises:
            GuestError: known_hosts is there but cannot be read.
        """
        self.file = folder / _FILE
        self.policy = policy
        self.announced = asyncio.Event()
        self._name = name
        self._boot = boot
        self._heard: frozenset[str] = frozenset()
        self._known = self._load()
        self._first_meeting_wait_s = first_meeting_wait_s
        self._waited = first_meeting_wait_s <= 0

    def begin(self, boot: str) -> None:
        """A boot was started: what was announced before does not count any more."""
        self._boot = boot
        self._heard = frozenset()
        self.announced.clear()

    def expect_silence(self) -> None:
        """Nobody listens to this boot's console: the guest is held to the first key that it shows."""
        self._known = replace(self._known, announced=False)
        self._waited = True

    def hear(self, line: str) -> bool:
        """Take a line of the guest's console; True when it announced a key, which is kept at once.

        Raises:
            GuestError: it could not be kept, but holds for this boot.
        """
        key = announced_key(line)
        if key is None or self.policy is not HostKeyPolicy.AUTO or len(self._heard) >= _MAX_ANNOUNCED:
            return False
        self._heard |= {key}
        self.announced.set()
        self._keep(Known(self._heard, self._boot, announced=True))
        return True

    def judge(self, shown: str) -> Judgement:
        """Whether the key `shown` (`TYPE KEY`) is the guest's."""
        judgement = judge(self.policy, shown=shown, heard=self._heard, known=self._known, boot=self._boot)
        return Judgement.WAIT if judgement is Judgement.ACCEPT and self._meets_first else judgement

    async def announcement(self) -> None:
        """Wait until the guest announces a key; one that is met for the first time may be one that never will."""
        if not self._meets_first:
            await self.announced.wait()
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self.announced.wait(), self._first_meeting_wait_s)
        self._waited = True

    @property
    def _meets_first(self) -> bool:
        unknown = not self._heard and self._known == Known()
        return self.policy is HostKeyPolicy.AUTO and self._boot is not None and unknown and not self._waited

    def accepted(self, shown: str) -> None:
        """Keep a key that was accepted at first sight, for this boot. Raises GuestError when it cannot be kept."""
        if self.policy is not HostKeyPolicy.AUTO or self._heard or shown in self._expected:
            return
        self._keep(Known(frozenset({shown}), self._boot))

    @property
    def pinned(self) -> tuple[str, ...]:
        """The keys that the user wrote down."""
        return tuple(sorted(self._known.keys))

    @property
    def known(self) -> bool:
        """Whether there is a key to hold this boot of the guest to, so that `ssh` can check it."""
        return self.policy is HostKeyPolicy.OFF or bool(self._expected)

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The signature algorithms to ask the guest for: those of the keys that are, or were, the guest's."""
        types = sorted({key.partition(" ")[0] for key in self._expected or self._known.keys})
        found = tuple(name for key_type in types for name in _ALGORITHMS.get(key_type, (key_type,)))
        return found or _USUAL_ALGORITHMS

    @property
    def _expected(self) -> frozenset[str]:
        if self._heard or self.policy is HostKeyPolicy.OFF:
            return self._heard
        if self.policy is HostKeyPolicy.PINNED or self._boot in {None, self._known.boot}:
            return self._known.keys
        return frozenset()

    def _keep(self, known: Known) -> None:
        self._known = known
        meta = json.dumps({"boot": known.boot, "announced": known.announced})
        lines = [f"{_COMMENT}{meta}", *(f"{self._name} {key}" for key in sorted(known.keys))]
        try:
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(self.file, "".join(f"{line}\n" for line in lines).encode())
        except OSError as error:
            raise GuestError(f"the host keys cannot be kept in {self.file}: {error.strerror or error}") from error

    def _load(self) -> Known:
        try:
            text = self.file.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return Known()
        except OSError as error:
            raise GuestError(f"{self.file} cannot be read: {error.strerror or error}") from error
        return parse_known_hosts(text, self._name)


def parse_known_hosts(text: str, name: str) -> Known:
    """The keys of `name` in a known_hosts file, and what nixvm-loop's own comment says about them."""
    known = Known()
    keys: set[str] = set()
    for line in text.splitlines():
        if line.startswith(_COMMENT):
            known = _with_comment(known, line.removeprefix(_COMMENT))
        fields = line.split()
        if len(fields) >= 3 and name in fields[0].split(",") and not line.startswith(("#", "@")):  # noqa: PLR2004  # names, type, key
            keys.add(f"{fields[1]} {fields[2]}")
    return replace(known, keys=frozenset(keys))


def _with_comment(known: Known, text: str) -> Known:
    try:
        value = json.loads(text)
    except ValueError:
        return known
    if not isinstance(value, dict):
        return known
    boot = value.get("boot")
    return Known(boot=boot if isinstance(boot, str) else None, announced=value.get("announced") is True)
