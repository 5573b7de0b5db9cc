"""Libvirt's XML as text and values: read it, create it, adopt it, put a boot into it, compare it."""

from nixvm_loop.domainxml.adopt import Adoption, adopt
from nixvm_loop.domainxml.compare import differences
from nixvm_loop.domainxml.create import create
from nixvm_loop.domainxml.patch import with_boot
from nixvm_loop.domainxml.read import read
from nixvm_loop.domainxml.values import DomainXml, HostFacts, HostStore, Interface, Owner, Share, StoreMode

__all__ = [
    "Adoption",
    "DomainXml",
    "HostFacts",
    "HostStore",
    "Interface",
    "Owner",
    "Share",
    "StoreMode",
    "adopt",
    "create",
    "differences",
    "read",
    "with_boot",
]
