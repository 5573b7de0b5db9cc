"""What virtiofsd and the host's kernel say when they are in the way."""

from __future__ import annotations

from typing import Final

from nixvm_loop.signatures.pattern import Source, signature

HOST: Final = (
    signature(
        "virtiofsd-option",
        Source.VIRTIOFSD,
        r"fuse: unknown option\(s\): [`'](?P<option>[^'`]*)'"
        r"|error: (?:unexpected argument|Found argument) '(?P<other>[^']*)'",
        "virtiofsd does not know what it was asked for: {option}{other}",
        "take it out of the share's <binary>, <driver> or <filesystem>, or use a virtiofsd that knows it",
    ),
    signature(
        "virtiofsd-source",
        Source.VIRTIOFSD,
        r"failed to stat source \(\"(?P<folder>[^\"]*)\"\): (?P<reason>[^\r\n]*)",
        "virtiofsd cannot see the shared folder {folder}: {reason}",
        "does it exist on libvirt's host, and may root enter it?",
    ),
    signature(
        "virtiofsd-sandbox",
        Source.VIRTIOFSD,
        r"(?P<call>unshare\([^)]*\)|mount\(/, MS_REC[^)]*\)|pivot_root\([^)]*\)): (?P<reason>[^\r\n]*)"
        r"|Error (?:creating|entering) sandbox: (?P<words>[^\r\n]*)",
        "virtiofsd could not make its sandbox: {call} {reason}{words}",
        "a container or AppArmor keeps it from making namespaces; <sandbox mode='chroot'/> in <binary> needs fewer",
    ),
    signature(
        "virtiofsd-descriptors",
        Source.VIRTIOFSD,
        r"Too many open files|RLIMIT_NOFILE[^\r\n]*(?:failed|not permitted)",
        "virtiofsd may not open as many files as the guest looks at",
        "raise LimitNOFILE of libvirt's service (systemctl edit libvirtd; NixOS:"
        " systemd.services.libvirtd.serviceConfig.LimitNOFILE)",
    ),
    signature(
        "apparmor-denied",
        Source.KERNEL,
        r'apparmor="DENIED" operation="(?P<doing>[^"]*)".*?'
        r'profile="(?P<profile>libvirtd|virtqemud|virt-aa-helper|libvirt-[0-9a-f-]+)[^"]*".*?'
        r'name="(?P<name>[^"]*/(?:qemu-system|qemu-kvm|virtiofsd|passt|kernel|initrd|bzImage)[^"]*|/nix/store/[^"]*)"',
        "AppArmor's profile {profile} denies {doing} of {name}",
        "name the distribution's own QEMU and virtiofsd in the domain, or allow it in"
        " /etc/apparmor.d/local/usr.sbin.libvirtd (abstractions/libvirt-qemu for a guest's profile)",
    ),
    signature(
        "selinux-denied",
        Source.KERNEL,
        r"avc:\s+denied\s+\{ (?P<doing>[^}]+) \}(?!.*permissive=1).*?"
        r'comm="?(?P<program>qemu-(?!ga\b)[\w-]*|virtiofsd)"?.*?tcontext=(?P<context>\S+)',
        "SELinux denies {program} to {doing} what is labelled {context}",
        "ausearch -m avc -ts recent | audit2why says which boolean or label allows it; restorecon -Rv mends labels",
    ),
)
