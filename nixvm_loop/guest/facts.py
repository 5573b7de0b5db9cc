"""One look into the guest: the text that its shell gets, and the facts that its answer holds."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from secrets import token_hex
from typing import TYPE_CHECKING, Final

from nixvm_loop import mountinfo
from nixvm_loop.errors import GuestError
from nixvm_loop.guest.script import Script
from nixvm_loop.model.cmdline import as_given
from nixvm_loop.model.facts import GuestFacts, ProbeResult, Space, WriteProbe

if TYPE_CHECKING:
    from nixvm_loop.model.settings import StoreSettings

# Prints the state, then the failed units; the caller bounds the wait.
UNITS_COMMAND: Final = (
    "systemctl is-system-running --wait; systemctl list-units --state=failed --plain --full --no-legend --no-pager"
)
_NOT_FOUND: Final = 127
_SSH_CONNECTION_WORDS: Final = 4
# Exit statuses of the script's write probe; any other is that of `unshare` itself.
_PROBE_RESULTS: Final = {
    0: ProbeResult.WRITTEN,
    3: ProbeResult.REFUSED,
    4: ProbeResult.REFUSED,
    5: ProbeResult.REFUSED,
}


class Asked(Enum):
    """How the script is to tell: all at once, or as words on its standard input ask for it (`FACTS`, `PROBES`)."""

    ONCE = "once"
    BY_WORD = "by word"


FACTS: Final = "facts"
PROBES: Final = "probes"


@dataclass(frozen=True, slots=True)
class FactsRequest:
    """What to look for.

    Attributes:
        paths: Store paths of the host, to be seen through the store's mount point in the guest.
        nonce: Marks this request's answer, so that nothing else the guest prints is taken for it.
    """

    store: StoreSettings
    paths: tuple[str, ...] = ()
    asked: Asked = Asked.ONCE
    nonce: str = field(default_factory=lambda: token_hex(8))

    @property
    def script(self) -> Script:
        """What the guest's shell gets."""
        folder = self.store.mount_point.rstrip("/")
        settings = {
            "token": f"@{self.nonce}",
            "nonce": self.nonce,
            "asked": self.asked.value,
            "mount_point": folder,
            "ro_store": self.store.ro_store,
            "rw_store": self.store.rw_store,
        }
        return Script("facts.sh", settings, folder, self.paths)


def is_whole(output: str, request: FactsRequest) -> bool:
    """Whether the guest's shell came to the end of the script."""
    return "end" in _sections(output, request)


def facts_from(output: str, request: FactsRequest, *, complaints: str = "") -> GuestFacts:
    """The facts in what the guest's shell printed. A section that is empty or unreadable leaves its fact None.

    Raises:
        GuestError: the answer is not whole; `complaints` (standard error) are among its details.
    """
    if not is_whole(output, request):
        raise GuestError(
            "the guest's shell broke off while it told about itself",
            hint="try the same shell by hand: nixvm-loop ssh",
            details=tuple([*output.splitlines(), *complaints.splitlines()][-5:]),
        )
    return told_so_far(output, request)


def is_ready(output: str, request: FactsRequest) -> bool:
    """Whether a script that is asked word by word listens."""
    return "ready" in _sections(output, request)


def times_told(output: str, request: FactsRequest) -> int:
    """How often a script that is asked word by word has told its facts."""
    return len(re.findall(rf"^@{re.escape(request.nonce)} told\n", output, flags=re.MULTILINE))


def told_so_far(output: str, request: FactsRequest) -> GuestFacts:
    """The facts in an answer that may go on; the last ones, if it told them again. What was not told yet is None."""
    sections = _sections(output, request)
    lines = {name: tuple(line for line in text.splitlines() if line) for name, text in sections.items()}
    mounts = mountinfo.parse(sections.get("mounts", ""))
    unseen, checked = _unseen(lines.get("missing", ()), request)
    space, space_lacks = _space(lines.get("probes", ()))
    write, write_lacks = _write_probe(lines.get("probes", ()))
    state, failed = _units(lines.get("units", ()))
    return GuestFacts(
        boot_id=_first(lines, "boot-id"),
        uptime_s=_uptime(_first(lines, "uptime")),
        booted_system=_first(lines, "booted"),
        current_system=_first(lines, "current"),
        cmdline=as_given(cmdline) if (cmdline := _first(lines, "cmdline")) is not None else None,
        kernel_release=_first(lines, "release"),
        is_root=_first(lines, "who") == "root",
        listens=_listens(lines.get("listens", ())),
        has_nix=_first(lines, "nix") is not None,
        share=mountinfo.mount_at(mounts, request.store.ro_store),
        store=mountinfo.mount_at(mounts, request.store.mount_point),
        layer=mountinfo.mount_at(mounts, request.store.rw_store),
        rw_store=space,
        store_write=write,
        paths_checked=checked,
        missing_paths=tuple(path for paths in unseen.values() for path in paths),
        hidden_paths=unseen["hidden"],
        stale_paths=unseen["stale"],
        system_state=state,
        failed_units=failed,
        lacks=(*space_lacks, *write_lacks),
    )


def units_from(output: str) -> tuple[str | None, tuple[str, ...]]:
    """The system's state and the failed units, from what `UNITS_COMMAND` printed."""
    state, *rest = output.splitlines() or [""]
    return state.strip() or None, _unit_names(rest)


def _sections(output: str, request: FactsRequest) -> dict[str, str]:
    parts = re.split(rf"^@{re.escape(request.nonce)} (.*)\n", output, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _first(lines: dict[str, tuple[str, ...]], name: str) -> str | None:
    return next(iter(lines.get(name, ())), None)


def _listens(lines: tuple[str, ...]) -> bool | None:
    """From SSH_CONNECTION, whose last word is the guest's port, and the addresses that are listened on."""
    by, *rest = (lines[0].split() if lines else []) or [""]
    if not any(line.startswith("told ") for line in lines) or len(rest) != _SSH_CONNECTION_WORDS or by != "by":
        return None
    # Over anything but TCP, sshd says "UNKNOWN 65535".
    if "UNKNOWN" in rest or not rest[-1].isdecimal():
        return None
    return any(line.endswith(f":{int(rest[-1]):04X}") for line in lines[1:])


def _uptime(text: str | None) -> float | None:
    match = re.match(r"\d+(?:\.\d+)?", text or "")
    return float(match[0]) if match else None


def _space(probes: tuple[str, ...]) -> tuple[Space | None, tuple[str, ...]]:
    """From block size, blocks, free, free for users, inodes, free inodes; and what the guest lacks for it."""
    fields = next((line.split()[1:] for line in probes if line.startswith("space ")), [])
    if fields == ["failed", str(_NOT_FOUND)]:
        return None, ("stat",)
    if len(fields) != 6 or not all(value.isdecimal() for value in fields):  # noqa: PLR2004  # as listed above
        return None, ()
    block, blocks, free, available, inodes, free_inodes = map(int, fields)
    used = blocks - free
    space = Space(
        used_bytes=used * block,
        size_bytes=(used + available) * block,
        used_inodes=inodes - free_inodes,
        inodes=inodes,
    )
    return space, ()


def _unseen(lines: tuple[str, ...], request: FactsRequest) -> tuple[dict[str, tuple[str, ...]], int | None]:
    """The paths that were not seen, by how that is, and how many were looked for; None if the guest did not say."""
    *names, last = lines or ("",)
    word, _, count = last.partition(" ")
    found: dict[str, tuple[str, ...]] = {"hidden": (), "stale": (), "absent": ()}
    if word != "looked-for" or not count.isdecimal():
        return found, None
    mount_point = request.store.mount_point.rstrip("/")
    for line in names:
        kind, _, name = line.partition(" ")
        if kind in found:
            found[kind] += (name if name.startswith("/") else f"{mount_point}/{name}",)
    return found, int(count)


def _write_probe(probes: tuple[str, ...]) -> tuple[WriteProbe | None, tuple[str, ...]]:
    """From the exit status and what was said, which may go on in further lines; and what the guest lacks for it."""
    said = " ".join(line for line in probes if not line.startswith("space "))
    match = re.fullmatch(r"write (\d+) ?(.*)", said)
    if match is None:
        return None, ()
    code, message = int(match[1]), match[2].strip()
    if code == _NOT_FOUND:
        return WriteProbe(ProbeResult.NO_MEANS, message), ("unshare or mount",)
    return WriteProbe(_PROBE_RESULTS.get(code, ProbeResult.NO_MEANS), message), ()


def _units(lines: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    if not lines or not lines[0].startswith("state"):
        return None, ()
    return lines[0].removeprefix("state").strip() or "unknown", _unit_names(lines[1:])


def _unit_names(lines: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    return tuple(fields[0] for line in lines if (fields := line.split()))
