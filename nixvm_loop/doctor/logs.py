"""Probes of logs: of the last cycle if it failed, of what runs beside the domain. Signatures say what lines mean."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nixvm_loop import signatures
from nixvm_loop.doctor.ids import Id
from nixvm_loop.doctor.probe import Answer, Found, NotPossibleError, Probe
from nixvm_loop.domain.beside import QEMU, VIRTIOFSD, log_file
from nixvm_loop.errors import DomainError, UsageError
from nixvm_loop.model.values import Area, Severity, Verdict
from nixvm_loop.signatures import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nixvm_loop.doctor.patient import Patient
    from nixvm_loop.model.values import CycleRecord

_TAIL_BYTES: Final = 256 << 10
_EVIDENCE: Final = 300
# Every log that a cycle leaves, and whose words it holds.
_CYCLE_LOGS: Final = (
    ("nix.log", Source.NIX),
    ("console.log", Source.CONSOLE),
    ("switch.log", Source.CONSOLE_CLUE),
)
_STARTED: Final = re.compile(r": starting up\b|Waiting for vhost-user socket connection")


def meaning(source: Source, lines: Sequence[str]) -> tuple[signatures.Found, str] | None:
    """What a log means, and the line that says so: one that explains, else a clue, else the one that ends it."""
    found = [(one, line) for line in lines if (one := signatures.find(source, line)) is not None]
    if source is not Source.CONSOLE or not found:
        return found[0] if found else None
    explained = next((pair for pair in found if pair[0].id not in signatures.UNEXPLAINED), None)
    clues = [(one, line) for line in lines if (one := signatures.find(Source.CONSOLE_CLUE, line)) is not None]
    best = min(clues, key=lambda pair: signatures.weight(pair[0]), default=None)
    return explained or best or found[0]


def judge_log(file: Path, source: Source, lines: Sequence[str], severity: Severity) -> tuple[Found, ...]:
    """The finding that a log holds, if its meaning is known."""
    known = meaning(source, lines)
    if known is None:
        return ()
    one, line = known
    return (Found(one.id, severity, f"{file}: {line.strip()[:_EVIDENCE]}", one.cause, one.fix),)


def judge_record(record: CycleRecord, folder: Path) -> Found:
    """The finding for a failed cycle by its own word, known or not."""
    error = record.error or "no reason was kept"
    for source in (Source.CONSOLE_CLUE, Source.NIX, Source.LIBVIRT):
        known = signatures.find_in_text(source, error)
        if known is not None:
            return Found(known.id, Severity.ERROR, f"cycle {record.cycle}: {error}", known.cause, known.fix)
    cause, fix = "the last cycle failed", f"its logs are in {folder}; nixvm-loop rebuild tries again"
    return Found(Id.CYCLE_FAILED, Severity.ERROR, f"cycle {record.cycle}: {error}", cause, fix)


def last_run(text: str) -> list[str]:
    """The lines of QEMU's or virtiofsd's log since its last start."""
    lines = text.splitlines()
    start = max((number for number, line in enumerate(lines) if _STARTED.search(line)), default=0)
    return lines[start:]


def _tail(file: Path) -> str | None:
    """The end of a log, None when it does not exist. Raises NotPossibleError when it is not ours to read."""
    try:
        with file.open("rb") as log:
            log.seek(0, 2)
            log.seek(max(log.tell() - _TAIL_BYTES, 0))
            return log.read().decode(errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NotPossibleError(f"{file} cannot be read: {error.strerror}") from error


async def _cycle(patient: Patient) -> Answer:
    record = patient.journal.last()
    if record is None:
        return Answer("no cycle yet")
    if record.verdict is not Verdict.FAILED:
        return Answer(f"cycle {record.cycle} was {record.verdict}")
    folder = patient.settings.state_dir / "cycles" / str(record.cycle)
    found = _of_cycle(record, folder)
    return Answer(f"cycle {record.cycle} failed", found, exit_code=record.exit_code)


def _of_cycle(record: CycleRecord, folder: Path) -> tuple[Found, ...]:
    own = judge_record(record, folder)
    for name, source in _CYCLE_LOGS:
        found = judge_log(folder / name, source, (_tail(folder / name) or "").splitlines(), Severity.ERROR)
        if found and own.id == Id.CYCLE_FAILED:
            return found
    return (own,)


async def _qemu(patient: Patient) -> Answer:
    return _judged(patient, QEMU, (Source.LIBVIRT,))


async def _virtiofsd(patient: Patient) -> Answer:
    return _judged(patient, VIRTIOFSD, (Source.VIRTIOFSD,))


def _judged(patient: Patient, program: str, sources: Iterable[Source]) -> Answer:
    if not patient.settings.on_this_host:
        raise NotPossibleError("libvirt's host is another one")
    file = log_file(patient.settings.domain, program)
    try:
        text = _tail(file)
    except NotPossibleError as error:
        raise NotPossibleError(f"{error}; sudo nixvm-loop doctor would") from error
    if text is None:
        return Answer("no log yet")
    lines = last_run(text)
    found = [one for source in sources for one in judge_log(file, source, lines, Severity.WARNING)]
    return Answer(str(file), tuple(found))


async def _kernel(patient: Patient) -> Answer:
    try:
        said = await patient.program("dmesg")
    except UsageError as error:
        raise NotPossibleError(error.message) from error
    if not said.ok:
        raise NotPossibleError("the kernel's log is root's")
    lines = said.stdout.decode(errors="replace").splitlines()
    found = judge_log(Path("dmesg"), Source.KERNEL, lines[::-1], Severity.WARNING)
    return Answer("nothing denied" if not found else "something was denied", found)


PROBES: Final = (
    Probe(Area.LOGS, "cycle", _cycle, DomainError.exit_code),
    Probe(Area.LOGS, "qemu", _qemu, DomainError.exit_code),
    Probe(Area.LOGS, "virtiofsd", _virtiofsd, DomainError.exit_code),
    Probe(Area.LOGS, "kernel", _kernel, DomainError.exit_code),
)
