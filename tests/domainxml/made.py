"""Definitions as `create` writes them, for hosts of two generations."""

from __future__ import annotations

from dataclasses import replace

from nixvm_loop.domainxml import HostFacts, HostStore, Owner, StoreMode, create
from nixvm_loop.model.settings import MachineSettings

OLD = HostFacts(
    arch="x86_64",
    kvm=False,
    no_kvm_because="the processor has neither vmx nor svm",
    passt=False,
    readonly_share=False,
    rom=None,
    qemu_uid=64055,
    qemu_gids=(64055,),
    libvirt_version=9_000_000,
)
NEW = replace(OLD, kvm=True, no_kvm_because="", passt=True, readonly_share=True, rom="/usr/share/qemu/qboot.rom")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHXcc5Ea guest demo"


def definition(
    machine: MachineSettings | None = None,
    host: HostFacts = OLD,
    *,
    store: HostStore = HostStore(),  # noqa: B008  # it is frozen
    mode: StoreMode = StoreMode.SHARED,
    name: str = "demo",
    key: str | None = KEY,
    cmdline: str = "init=/x",
) -> str:
    """The XML for such a machine."""
    return create(
        machine or MachineSettings(),
        name=name,
        owner=Owner("demo", f"/state/{name} & co", mode),
        host=host,
        share="nix-store-share",
        kernel="/state/demo/kernel-current",
        initrd="/state/demo/initrd-current",
        cmdline=cmdline,
        ssh_public_key=key,
        store=store,
    )
