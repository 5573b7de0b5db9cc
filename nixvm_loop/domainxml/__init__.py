"""Libvirt's XML as text and values: read it, create it, put a boot into it, compare it."""

from nixvm_loop.domainxml.compare import differences
from nixvm_loop.domainxml.create import create
from nixvm_loop.domainxml.patch import with_boot
from nixvm_loop.domainxml.read import read
from nixvm_loop.domainxml.values import DomainXml, HostFacts, Interface, Owner, Share

__all__ = [
    "DomainXml",
    "HostFacts",
    "Interface",
    "Owner",
    "Share",
    "create",
    "differences",
    "read",
    "with_boot",
]
