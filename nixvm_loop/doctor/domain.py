"""Probes of the domain: will libvirt start it, with the share, the memory and the files that the guest needs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nixvm_loop.cycle import definition, needs, served
from nixvm_loop.doctor.ids import Id
from nixvm_loop.doctor.probe import Answer, Cure, Found, NotPossibleError, Probe, Remedy
from nixvm_loop.doctor.shares import judge_processes, judge_share
from nixvm_loop.domain import networks
from nixvm_loop.domain.access import may_enter, way_to
from nixvm_loop.domainxml.details import details
from nixvm_loop.errors import DomainError, UsageError
from nixvm_loop.model.values import Area, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nixvm_loop.cycle.definition import BootConfig
    from nixvm_loop.doctor.patient import DomainSeen, Patient
    from nixvm_loop.domainxml import DomainXml, HostFacts

_CODE: Final = DomainError.exit_code
_STORE: Final = Path("/nix/store")
_OFF: Final = frozenset({"shut off", "crashed"})


def judge_definition(defined: DomainXml) -> tuple[Found, ...]:
    """Whether it is a domain to work with, and will stay one."""
    found = []
    if not defined.boots_directly:
        found.append(
            Found(
                Id.NO_DIRECT_BOOT,
                Severity.ERROR,
                f"domain {defined.name} has no <kernel>",
                "the domain boots from a disk or the network, not the kernel that nixvm-loop builds",
                f"nixvm-loop adopt {defined.name} puts it on direct kernel boot; or let nixvm-loop create make one",
            )
        )
    if defined.on_reboot == "restart":
        found.append(
            Found(
                Id.ON_REBOOT,
                Severity.WARNING,
                "<on_reboot>restart</on_reboot>, libvirt's default",
                "a reboot in the guest starts the kernel again that QEMU was started with, not the current one",
                f"virsh edit {defined.name}: <on_reboot>destroy</on_reboot>",
            )
        )
    return tuple(found)


def judge_boot_files(defined: DomainXml, host: HostFacts | None) -> tuple[Found, ...]:
    """Whether QEMU will find and read kernel and initrd (of this machine), and whose they are."""
    found = []
    for tag, name in (("kernel", defined.kernel), ("initrd", defined.initrd)):
        if name is None:
            continue
        path, seen = Path(name), f"<{tag}>{name}</{tag}>"
        if not path.exists():
            found.append(
                Found(Id.NO_BOOT_FILE, Severity.ERROR, seen, f"the domain's {tag} does not exist", "nixvm-loop rebuild")
            )
        elif host is not None and host.qemu_uid is not None:
            found += _judge_access(path, seen, host.qemu_uid, host.qemu_gids)
    return tuple(found)


def _judge_access(path: Path, seen: str, uid: int, gids: tuple[int, ...]) -> list[Found]:
    closed = next((folder for folder in way_to(path.absolute()) if not may_enter(folder, uid, gids)), None)
    if closed is not None:
        cause = f"QEMU's user (uid {uid}) may not enter a folder on the way to the domain's kernel or initrd"
        fix = f"nixvm-loop rebuild names the store's path instead; or `chmod o+x {closed}`, or move state_dir"
        return [Found(Id.BOOT_FILE_FORBIDDEN, Severity.ERROR, f"{seen}: {closed} is closed to it", cause, fix)]
    resolved = path.resolve()
    if resolved.is_relative_to(_STORE) and resolved.stat().st_uid == uid != _STORE.stat().st_uid:
        cause = "libvirt gave a file of the store to QEMU's user when it started the domain"
        fix = f"chown {_STORE.owner()} {resolved}; <seclabel type='static' model='dac' relabel='no'/> in the domain"
        return [Found(Id.STORE_CHOWNED, Severity.WARNING, f"{resolved} belongs to uid {uid}", cause, fix)]
    return []


def judge_boot(defined: DomainXml, wanted: BootConfig | None) -> tuple[Found, ...]:
    """Whether the next start boots the current generation."""
    inits = [word for word in (defined.cmdline or "").split() if word.startswith("init=")]
    if defined.boots_directly and len(inits) != 1:
        return (
            Found(
                Id.NOT_ONE_INIT,
                Severity.ERROR,
                f"{len(inits)} init= in <cmdline>{defined.cmdline or ''}</cmdline>",
                "a NixOS guest boots only with exactly one init= on its command line",
                "nixvm-loop rebuild puts the right one there; leave init= out of kernel_params",
            ),
        )
    if wanted is None or not defined.boots_directly or definition.boots(defined, wanted):
        return ()
    differs = [
        f"<{tag}> is {has}, not {wants}"
        for tag, has, wants in (
            ("kernel", defined.kernel, wanted.kernel),
            ("initrd", defined.initrd, wanted.initrd),
            ("cmdline", defined.cmdline, wanted.cmdline),
        )
        if has != wants
    ]
    return (
        Found(
            Id.OTHER_GENERATION,
            Severity.WARNING,
            "; ".join(differs),
            "the domain is defined to boot something else than the current generation",
            "nixvm-loop rebuild sets it right",
        ),
    )


async def _seen(patient: Patient) -> DomainSeen:
    domain = await patient.domain()
    if domain is None:
        raise NotPossibleError(f"there is no domain {patient.settings.domain}")
    return domain


async def _host(patient: Patient) -> HostFacts | None:
    try:
        return await patient.host() if patient.settings.on_this_host else None
    except NotPossibleError:
        return None


async def _definition(patient: Patient) -> Answer:
    settings, domain = patient.settings, await patient.domain()
    if domain is None:
        other = await served.other_domain(await patient.hypervisor(), settings)
        if other is not None:
            error = served.renamed(settings, other)
            cause = "libvirt calls this guest's domain otherwise than the config"
            return Answer("renamed", (Found(Id.NO_DOMAIN, Severity.ERROR, error.message, cause, error.hint or ""),))
        hint = "nixvm-loop create defines it" if settings.machine else "name an existing one: domain = … in the config"
        seen = f"{settings.domain} at {settings.libvirt_uri}"
        return Answer("not defined", (Found(Id.NO_DOMAIN, Severity.ERROR, seen, "there is no such domain", hint),))
    found = judge_definition(domain.defined)
    if settings.machine is not None:
        try:
            definition.check_ours(settings, domain.defined)
        except (DomainError, UsageError) as error:
            cause = "the domain is not this guest's own"
            found += (Found(Id.FOREIGN_DOMAIN, Severity.ERROR, error.message, cause, error.hint or ""),)
    if domain.state == "paused":
        cause = "the domain is paused, by somebody's hand or by an error of QEMU's"
        fix, cure = f"virsh resume {settings.domain}", Cure(Remedy.RESUME, settings.domain)
        found += (Found(Id.PAUSED, Severity.WARNING, f"state of {settings.domain}", cause, fix, cure),)
    return Answer(f"{settings.domain} is {domain.state}", found)


async def _share(patient: Patient) -> Answer:
    domain = await _seen(patient)
    found = judge_share(domain.defined, patient.settings.store.share, await _host(patient))
    found += judge_processes(patient.settings.domain, domain.lost_shares)
    return Answer(patient.settings.store.share, found)


async def _boot(patient: Patient) -> Answer:
    domain = await _seen(patient)
    wanted = None
    try:
        generation = patient.generation()
        wanted = await definition.boot_for(patient.context, await patient.hypervisor(), generation)
        said = f"generation {generation.number}"
    except NotPossibleError as error:
        said = str(error)
    files: tuple[Found, ...] = ()
    if patient.settings.on_this_host:
        files = judge_boot_files(domain.defined, await _host(patient))
    return Answer(said, (*files, *judge_boot(domain.defined, wanted)))


async def _network(patient: Patient) -> Answer:
    domain = await _seen(patient)
    names = sorted({card.network for card in domain.defined.interfaces if card.network})
    found = [one for name in names for one in await _judge_network(patient, name)]
    if domain.state in _OFF and patient.settings.on_this_host:
        found += _judge_ports(domain.defined)
    ports = ", ".join(f"{forward.host_port} to {forward.guest_port}" for forward in domain.defined.forwards)
    return Answer(
        "; ".join([*names, *([f"port {ports}"] if ports else [])]) or "no networks of libvirt's", tuple(found)
    )


async def _judge_network(patient: Patient, name: str) -> list[Found]:
    active = await networks.is_active(await patient.hypervisor(), name)
    if active:
        return []
    if active is None:
        fix = "`virsh net-list --all` shows those that it has; correct the domain's <interface>"
        return [Found(Id.NO_NETWORK, Severity.ERROR, f'<source network="{name}"/>', "libvirt has no such network", fix)]
    cause = "a network of the domain's is not active: libvirt refuses to start the domain"
    fix = networks.how_to_start(name)
    cure = Cure(Remedy.START_NETWORK, name)
    return [Found(Id.NETWORK_INACTIVE, Severity.ERROR, f"network {name}", cause, fix, cure)]


def _judge_ports(defined: DomainXml) -> list[Found]:
    try:
        needs.check_ports(defined, None)
    except DomainError as error:
        cause = "another program has a port that leads to the guest"
        return [Found(Id.PORT_IN_USE, Severity.ERROR, error.message, cause, error.hint or "")]
    return []


async def _files(patient: Patient) -> Answer:
    named = details((await _seen(patient)).text).files
    if not patient.settings.on_this_host:
        raise NotPossibleError("libvirt's host is another one")
    store = {path: element for element, path in named if Path(path).is_relative_to(_STORE)}
    rooted = _of_generations(patient)
    loose = [path for path in store if not path.startswith(tuple(rooted)) and not await patient.is_rooted(path)]
    cause = "the domain names a store path that nothing keeps: the next garbage collection takes it away"
    fix = "name a path that stays, as /run/libvirt/nix-emulators/… on NixOS; or root it: nix-store --realise --add-root"
    found = (Found(Id.UNROOTED_PATH, Severity.WARNING, f"{store[path]} {path}", cause, fix) for path in loose)
    return Answer(f"{len(named)} named, {len(store)} in the store", tuple(found))


def _of_generations(patient: Patient) -> Iterable[str]:
    """Store paths that the kept generations hold."""
    folders = [patient.generations.directory(number) for number in patient.generations.numbers()]
    links = (os.path.realpath(folder / name) for folder in folders for name in ("kernel", "initrd", "toplevel"))
    return {path for path in links if path.startswith("/nix/store/")}


PROBES: Final = (
    Probe(Area.DOMAIN, "definition", _definition, _CODE),
    Probe(Area.DOMAIN, "share", _share, _CODE),
    Probe(Area.DOMAIN, "boot", _boot, _CODE),
    Probe(Area.DOMAIN, "network", _network, _CODE),
    Probe(Area.DOMAIN, "files", _files, _CODE),
)
