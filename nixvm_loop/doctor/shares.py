"""What may be wrong with the share that the guest has its store from. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nixvm_loop.doctor.ids import Id
from nixvm_loop.doctor.probe import Found
from nixvm_loop.model.values import Severity

if TYPE_CHECKING:
    from nixvm_loop.domainxml import DomainXml, HostFacts, Share

# QEMU's own default, which is what a share without `queue` gets; and the most that it takes.
_DEFAULT_QUEUE: Final = 128
_LARGEST_QUEUE: Final = 1024
_QUEUE_FIX: Final = 'set machine.queue = 1024 (or <driver type="virtiofs" queue="1024"/> in your own domain)'


def judge_share(defined: DomainXml, tag: str, host: HostFacts | None) -> tuple[Found, ...]:
    """Whether the store's share is there and will be started."""
    share = defined.share(tag)
    if share is None or share.driver != "virtiofs":
        shares = ", ".join(f"{one.tag} ({one.driver})" for one in defined.shares) or "none"
        return (
            Found(
                Id.NO_SHARE,
                Severity.ERROR,
                f'shares of domain {defined.name}: {shares}; store.share is "{tag}"',
                "the domain has no virtiofs share with the tag that the guest mounts",
                f'one name for all: <target dir="{tag}"/> in the domain, store.share, and the guest\'s fileSystems',
            ),
        )
    return (*_judge_memory(defined), *_judge_queue(share), *_judge_readonly(defined, share, host))


def _judge_memory(defined: DomainXml) -> tuple[Found, ...]:
    if defined.shared_memory:
        return ()
    fix = "add <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking> to the domain"
    return (
        Found(
            Id.NO_SHARED_MEMORY,
            Severity.ERROR,
            f"no <memoryBacking> with <access mode='shared'/> in domain {defined.name}",
            "virtiofs needs memory that can be shared: libvirt refuses to start the domain",
            fix,
        ),
    )


def _judge_queue(share: Share) -> tuple[Found, ...]:
    queue = share.queue or _DEFAULT_QUEUE
    seen = f"share {share.tag}: " + (f'queue="{queue}"' if share.queue else f"no queue=…, so QEMU takes {queue}")
    if queue > _LARGEST_QUEUE or queue & (queue - 1):
        cause = "QEMU refuses the share's queue: it must be a power of 2, and 1024 at most"
        return (Found(Id.QUEUE_TOO_LARGE, Severity.ERROR, seen, cause, _QUEUE_FIX),)
    if queue < _LARGEST_QUEUE:
        cause = "the share's queue is small, which makes it slower than it could be"
        return (Found(Id.QUEUE_SMALL, Severity.WARNING, seen, cause, _QUEUE_FIX),)
    return ()


def _judge_readonly(defined: DomainXml, share: Share, host: HostFacts | None) -> tuple[Found, ...]:
    if not share.readonly or host is None or host.readonly_share:
        return ()
    fix = "nixvm-loop create defines the domain without it" if defined.owner else "remove <readonly/> from the share"
    return (
        Found(
            Id.READONLY_SHARE,
            Severity.ERROR,
            f"<readonly/> in share {share.tag}; {host.no_readonly_because}",
            "this host cannot share read-only: the domain does not start",
            f"{fix}; or use libvirt 11 and virtiofsd 1.13",
        ),
    )


def judge_processes(name: str, lost: tuple[int, ...]) -> tuple[Found, ...]:
    """Whether virtiofsd still serves the running domain; `lost` are its processes that have ended."""
    if not lost:
        return ()
    return (
        Found(
            Id.VIRTIOFSD_GONE,
            Severity.ERROR,
            f"process {', '.join(map(str, lost))} of domain {name} has ended",
            "virtiofsd has died under the running guest, which hangs at its next look at the store",
            "nixvm-loop rebuild --force starts both anew; its log is root's: /var/log/libvirt/qemu/*-virtiofsd.log",
        ),
    )
