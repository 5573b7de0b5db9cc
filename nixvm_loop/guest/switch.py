"""A live switch: what the guest's shell is told, and what its answer says."""

from __future__ import annotations

from dataclasses import dataclass, field
from secrets import token_hex
from typing import TYPE_CHECKING, Final

from nixvm_loop.guest.script import Reader, Script

if TYPE_CHECKING:
    from collections.abc import Callable

    from nixvm_loop.model.settings import StoreSettings

_FOLDER: Final = "/run/nixvm-loop/switch"
_CACHES: Final = "/proc/sys/vm/drop_caches"
_LOCKED: Final = "Could not acquire lock"


@dataclass(slots=True)
class Switch:
    """One switch to a system, over as many connections as it takes.

    Attributes:
        tell: Takes each line that `switch-to-configuration` prints.
        then: What the guest is asked in the same breath once the switch was done; nothing after a lost connection.
        looked: Called when the guest's view of its store is new, and whole.
        hidden: Store paths that the guest does not see; then nothing was switched.
        caches_kept: Whether the guest's caches could not be dropped.
        started: Whether it was set off, as far as is known.
        died: Whether it ended without an exit status.
        exit_status: Of `switch-to-configuration`, None while it runs or when there is none.
        lines: What it printed.
        complaints: What the shell said instead.
    """

    store: StoreSettings
    system: str
    paths: tuple[str, ...]
    tell: Callable[[str], object]
    then: Script | None = None
    looked: Callable[[], object] = lambda: None
    caches: str = _CACHES
    folder: str = _FOLDER
    nonce: str = field(default_factory=lambda: token_hex(8))
    hidden: list[str] = field(default_factory=list)
    caches_kept: bool = False
    started: bool = False
    died: bool = False
    exit_status: int | None = None
    lines: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether there is nothing more to follow."""
        return self.exit_status is not None or self.died or bool(self.hidden)

    @property
    def locked(self) -> bool:
        """Whether another switch was under way, so that this one did nothing."""
        return bool(self.exit_status) and any(_LOCKED in line for line in self.lines[-2:])

    def stop_command(self) -> str:
        """The command line that ends it, wherever it has come to."""
        return Script("switch.sh", self._settings() | {"part": "stop"}, self._mount_point).command(Reader.SH)

    def script(self) -> Script:
        """What the guest's shell gets: to begin, or to follow what was begun."""
        # Begun twice, it would be in its own way: a connection that was lost early is taken for one that began it.
        paths, then = ((), None) if self.started else (self.paths, self.then)
        script = Script("switch.sh", self._settings(), self._mount_point, paths, then)
        self.started = True
        return script

    @property
    def _mount_point(self) -> str:
        return self.store.mount_point.rstrip("/")

    def _settings(self) -> dict[str, str]:
        return {
            "token": f"@{self.nonce}",
            "mount_point": self._mount_point,
            "caches": self.caches,
            "system": self.system,
            "folder": self.folder,
            "id": self.nonce,
            "shown": str(len(self.lines)),
            "part": "follow" if self.started else "begin",
        }

    def take(self, line: str) -> None:
        """Take a line of the shell's answer."""
        token, _, rest = line.partition(" ")
        word, _, text = rest.partition(" ")
        if token != f"@{self.nonce}":
            self.complaints += [] if self.over else [line]
        elif word == "line":
            self.lines.append(text)
            self.tell(text)
        elif word == "hidden":
            self.hidden.append(text if text.startswith("/") else f"{self._mount_point}/{text}")
        elif word == "looked":
            self.looked()
        elif word == "caches-kept":
            self.caches_kept = True
        elif word == "status" and text.isdecimal():
            self.exit_status = int(text)
        elif word in {"died", "unstarted"}:
            self.died = True
