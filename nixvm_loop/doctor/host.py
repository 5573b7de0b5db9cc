"""Probes of the host: Nix, libvirt, QEMU, virtiofsd, KVM, and how much there is of everything."""

from __future__ import annotations

import os
import re
import resource
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nixvm_loop import signatures
from nixvm_loop.doctor.ids import Id
from nixvm_loop.doctor.probe import Answer, Found, NotPossibleError, Probe
from nixvm_loop.domain.virtiofsd import FOLDERS, found_by_libvirt
from nixvm_loop.domainxml.details import details
from nixvm_loop.errors import DomainError, UsageError
from nixvm_loop.model.settings import Accelerator
from nixvm_loop.model.units import format_bytes
from nixvm_loop.model.values import Area, Severity

if TYPE_CHECKING:
    from nixvm_loop.doctor.patient import DomainSeen, Patient
    from nixvm_loop.process import Outcome

_USAGE: Final = UsageError.exit_code
_LIBVIRT: Final = DomainError.exit_code
_NIX: Final = ("nix", "--extra-experimental-features", "nix-command flakes", "store", "ping")
_DAEMON: Final = re.compile(r"cannot connect to (?:socket|daemon)|[Cc]onnection refused|daemon disconnected")
# Libvirt starts it as root, and the one written in C answers nobody else.
_FOR_ROOT: Final = re.compile(r"not permitted|[Pp]ermission denied")
_FEWEST_DESCRIPTORS: Final = 1024
_FEWEST_WATCHES: Final = 8192
_FEWEST_INSTANCES: Final = 16
_LEAST_ROOM_BYTES: Final = 512 << 20
_INOTIFY: Final = ("/proc/sys/fs/inotify/max_user_{}", "/proc/sys/user/max_inotify_{}")
_INSTALL_VIRTIOFSD: Final = (
    "install virtiofsd (Debian 12: qemu-system-common, later: virtiofsd; NixOS:"
    " virtualisation.libvirtd.qemu.vhostUserPackages = [ pkgs.virtiofsd ])"
)


def judge_nix(outcome: Outcome) -> tuple[Found, ...]:
    """What it means that Nix does not tell of its store."""
    if outcome.ok:
        return ()
    words = " ".join(outcome.stderr.decode(errors="replace").split())
    if _DAEMON.search(words):
        cause, fix = "Nix's daemon does not answer", "systemctl start nix-daemon.socket (or nix-daemon)"
        return (Found(Id.NIX_DAEMON, Severity.ERROR, words, cause, fix),)
    cause, fix = "Nix does not answer a simple question", "the evidence is Nix's own word; nixvm-loop needs Nix 2.8"
    return (Found(Id.NIX_FAILS, Severity.ERROR, f"{outcome.request}: {words}", cause, fix),)


def judge_refusal(error: DomainError) -> Found:
    """What it means that libvirt does not take our connection."""
    known = signatures.find(signatures.Source.LIBVIRT, "\n".join((*error.details, error.message)))
    name = known.id if known is not None else Id.LIBVIRT_REFUSES
    evidence = error.details[0] if error.details else error.message
    fix = error.hint or "does `virsh -c URI list` work, with the config's libvirt_uri?"
    return Found(name, Severity.ERROR, evidence, known.cause if known else error.message, fix)


def judge_virtiofsd(programs: tuple[str, ...], said: dict[str, str | None]) -> tuple[Found, ...]:
    """Whether libvirt finds a virtiofsd (`programs`, in its order), and what it `said` when it was started."""
    if not programs:
        seen = f"no program for type fs in {', '.join(FOLDERS)}"
        return (
            Found(Id.NO_VIRTIOFSD, Severity.ERROR, seen, "virtiofsd is not where libvirt looks", _INSTALL_VIRTIOFSD),
        )
    found = []
    for program in programs:
        word = said.get(program)
        if word is None:
            cause = "the virtiofsd that libvirt would start is not there or cannot be executed"
            found.append(Found(Id.NO_VIRTIOFSD, Severity.ERROR, program, cause, _INSTALL_VIRTIOFSD))
        elif "virtiofsd" not in word and _FOR_ROOT.search(word) is None:
            cause = "the program that is to serve the share is no virtiofsd, or does not start"
            seen = f"{program} --version: {word or 'nothing'}"
            found.append(Found(Id.VIRTIOFSD_FAILED, Severity.ERROR, seen, cause, _INSTALL_VIRTIOFSD))
    return tuple(found)


def judge_locks(word: str, *, locks: bool) -> tuple[Found, ...]:
    """Whether a `<lock>` meets the Rust virtiofsd, whose word for itself has no "version" in it."""
    if not locks or not re.match(r"virtiofsd \d", word):
        return ()
    cause = "this virtiofsd (the one written in Rust) knows no file locks, and ends when it is asked for them"
    fix = "remove <lock …/> from the share's <binary>"
    return (Found(Id.LOCK_OPTION, Severity.ERROR, f"<lock> in the domain; {word}", cause, fix),)


def judge_passt(*, there: bool, needed: bool) -> tuple[Found, ...]:
    """Whether the domain's network has the program that it needs."""
    if there or not needed:
        return ()
    cause, fix = "the domain's network needs passt, which libvirt does not find", "install passt"
    return (Found(Id.NO_PASST, Severity.ERROR, '<backend type="passt"/>', cause, fix),)


def judge_limits(descriptors: int, watches: int, instances: int) -> tuple[Found, ...]:
    """Whether what a process and a user may open is enough for watching a large tree."""
    limits = (
        (
            Id.FEW_DESCRIPTORS,
            descriptors,
            _FEWEST_DESCRIPTORS,
            f"{descriptors} open files for a process (ulimit -n)",
            "ulimit -n 4096 in your shell's profile; NixOS: security.pam.loginLimits",
        ),
        (
            Id.FEW_WATCHES,
            watches,
            _FEWEST_WATCHES,
            f"fs.inotify.max_user_watches = {watches}",
            "sysctl fs.inotify.max_user_watches=524288; NixOS: boot.kernel.sysctl",
        ),
        (
            Id.FEW_WATCHES,
            instances,
            _FEWEST_INSTANCES,
            f"fs.inotify.max_user_instances = {instances}",
            "sysctl fs.inotify.max_user_instances=512; NixOS: boot.kernel.sysctl",
        ),
    )
    cause = "watch may not be able to look at every folder of a large tree"
    return tuple(
        Found(name, Severity.WARNING, seen, cause, fix) for name, limit, fewest, seen, fix in limits if limit < fewest
    )


def judge_room(folder: Path, free_bytes: int) -> tuple[Found, ...]:
    """Whether the disk that holds `folder` has room left."""
    if free_bytes >= _LEAST_ROOM_BYTES:
        return ()
    cause = "there is hardly any room left on the disk of the store or of nixvm-loop's state"
    fix = "nix-collect-garbage --delete-older-than 7d; nixvm-loop keeps `keep` generations, fewer free more"
    return (Found(Id.DISK_SPACE, Severity.WARNING, f"{folder}: {format_bytes(free_bytes)} free", cause, fix),)


def judge_memory(wanted_bytes: int, available_bytes: int) -> tuple[Found, ...]:
    """Whether the host has the memory that the guest is to get."""
    if wanted_bytes <= available_bytes:
        return ()
    seen = (
        f"machine.memory is {format_bytes(wanted_bytes)}, /proc/meminfo has {format_bytes(available_bytes)} available"
    )
    cause = "the host has less free memory than the guest may take"
    return (Found(Id.HOST_MEMORY, Severity.WARNING, seen, cause, "lower machine.memory, or stop other guests"),)


async def _nix(patient: Patient) -> Answer:
    try:
        version = await patient.program("nix", "--version")
        outcome = await patient.program(*_NIX)
    except NotPossibleError as error:
        fix = "is nix-daemon stuck? systemctl restart nix-daemon; a builder may hold the store's lock: ps axf"
        return Answer("no answer", (Found(Id.NIX_HANGS, Severity.ERROR, str(error), "Nix does not answer", fix),))
    except UsageError as error:
        fix = "install Nix: https://nixos.org/download; is it in PATH?"
        return Answer("not found", (Found(Id.NIX_MISSING, Severity.ERROR, error.message, "Nix is not installed", fix),))
    return Answer(version.stdout.decode(errors="replace").strip(), judge_nix(outcome))


async def _libvirt(patient: Patient) -> Answer:
    try:
        host, uri = await patient.host_or_refusal(), patient.settings.libvirt_uri
    except DomainError as error:
        return Answer("refuses", (judge_refusal(error),))
    except NotPossibleError as error:
        fix = "systemctl restart libvirtd (or virtqemud); running guests go on without it"
        hangs = Found(Id.LIBVIRT_HANGS, Severity.ERROR, str(error), "libvirt's daemon does not answer", fix)
        return Answer("no answer", (hangs,))
    number = host.libvirt_version
    return Answer(f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000} at {uri}")


async def _domain_if_known(patient: Patient) -> DomainSeen | None:
    # What libvirt would find by itself, and what there is on this machine, is known without it.
    try:
        return await patient.domain()
    except NotPossibleError:
        return None


async def _qemu(patient: Patient) -> Answer:
    domain = await _domain_if_known(patient)
    emulator = details(domain.text).emulator if domain is not None else None
    if emulator is None:
        emulator = shutil.which(f"qemu-system-{os.uname().machine}") or ""
    if shutil.which(emulator) or not patient.settings.on_this_host:
        return Answer(emulator)
    seen, cause = f"<emulator>{emulator}</emulator>", "QEMU is not where the domain expects it"
    fix = "install QEMU for this machine (Debian: qemu-system-x86), or correct <emulator>"
    return Answer("not found", (Found(Id.EMULATOR_MISSING, Severity.ERROR, seen, cause, fix),))


async def _virtiofsd(patient: Patient) -> Answer:
    if not patient.settings.on_this_host:
        raise NotPossibleError("libvirt's host is another one")
    locks = False
    programs: tuple[str, ...] = ()
    domain = await _domain_if_known(patient)
    if domain is not None:
        known = details(domain.text)
        programs, locks = known.daemons, known.locks
    if not programs and (found := found_by_libvirt()) is not None:
        programs = (found,)
    said = {program: await patient.version_of(program) for program in programs}
    word = next(iter(said.values()), None) or ""
    named = f"{programs[0]}, which answers root only" if _FOR_ROOT.search(word) else word
    return Answer(named or "not found", (*judge_virtiofsd(programs, said), *judge_locks(word, locks=locks)))


async def _kvm(patient: Patient) -> Answer:
    host, domain = await patient.host(), await patient.domain()
    machine = patient.settings.machine
    wanted = machine is not None and machine.accelerator is Accelerator.KVM
    uses = domain is not None and domain.defined.kind == "kvm"
    if host.kvm:
        return Answer("works" + ("" if uses or domain is None else "; the domain does not use it"))
    if not (wanted or uses):
        return Answer(f"not used: {host.no_kvm_because}")
    cause = "the guest is to run on KVM, which does not work here: it would not start, or start and stay silent"
    fix = 'machine.accelerator = "auto" (or <domain type="qemu"> in your own); or let QEMU\'s user open /dev/kvm'
    return Answer("does not work", (Found(Id.NO_KVM, Severity.ERROR, host.no_kvm_because, cause, fix),))


async def _passt(patient: Patient) -> Answer:
    host, domain = await patient.host(), await patient.domain()
    uses = domain is not None and "passt" in details(domain.text).backends
    said = "there" if host.passt else "missing" if uses else "not there, and not needed"
    return Answer(said, judge_passt(there=host.passt, needed=uses))


async def _limits(_: Patient) -> Answer:
    descriptors, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    watches, instances = (
        min(_number(Path(file.format(kind))) for file in _INOTIFY) for kind in ("watches", "instances")
    )
    found = judge_limits(descriptors, watches, instances)
    return Answer(f"{descriptors} descriptors, {watches} watches", found)


def _number(file: Path) -> int:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 1 << 62  # a kernel without it has no such limit


async def _room(patient: Patient) -> Answer:
    folders = (Path("/nix/store"), patient.settings.state_dir)
    there = [next(one for one in (folder, *folder.parents) if one.is_dir()) for folder in folders]
    free = {folder: shutil.disk_usage(folder).free for folder in there}
    found = [one for folder, free_bytes in free.items() for one in judge_room(folder, free_bytes)]
    said = ", ".join(f"{format_bytes(free_bytes)} on {folder}" for folder, free_bytes in free.items())
    return Answer(said, tuple(found))


def _available_bytes() -> int:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), 0)


async def _memory(patient: Patient) -> Answer:
    available = _available_bytes()
    machine, domain = patient.settings.machine, await _domain_if_known(patient)
    off = domain is None or domain.live is None
    found = judge_memory(machine.memory_bytes, available) if machine and off and patient.settings.on_this_host else ()
    return Answer(f"{format_bytes(available)} available", found)


PROBES: Final = (
    Probe(Area.HOST, "nix", _nix, _USAGE),
    Probe(Area.HOST, "libvirt", _libvirt, _LIBVIRT),
    Probe(Area.HOST, "qemu", _qemu, _LIBVIRT),
    Probe(Area.HOST, "virtiofsd", _virtiofsd, _LIBVIRT),
    Probe(Area.HOST, "kvm", _kvm, _LIBVIRT),
    Probe(Area.HOST, "passt", _passt, _LIBVIRT),
    Probe(Area.HOST, "limits", _limits, _USAGE),
    Probe(Area.HOST, "disk", _room, _USAGE),
    Probe(Area.HOST, "memory", _memory, _USAGE),
)
