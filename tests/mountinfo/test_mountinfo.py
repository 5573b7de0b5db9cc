from __future__ import annotations

from pathlib import Path

import pytest

from nixvm_loop.mountinfo import mount_at, parse

ANSWER = Path(__file__).parent.parent / "guest" / "answers" / "mini-guest.txt"
ROOT = "25 1 0:22 / / rw,relatime - tmpfs tmpfs rw\n"


def row(number: int, parent: int, mount_point: str, fs: str = "tmpfs none rw", options: str = "rw") -> str:
    """A line of mountinfo."""
    return f"{number} {parent} 0:{number} / {mount_point} {options} - {fs}\n"


def test_a_real_guests_store_is_read_from_its_top_row() -> None:
    """Of NixOS's two rows for the store the read-only one on top counts, and the initrd's prefix is gone."""
    mounts = parse(ANSWER.read_text(encoding="utf-8"))
    store = mount_at(mounts, "/nix/store")
    assert len(mounts) == 9
    assert store is not None
    assert store.read_only
    assert store.lower_layers == ("/nix/.ro-store",)
    assert store.super_options["upperdir"] == "/nix/.rw-store/upper"
    assert store.super_options["workdir"] == "/nix/.rw-store/work"


def test_a_real_guests_share_is_read() -> None:
    """The share's row tells type, tag and that it is read-only."""
    share = mount_at(parse(ANSWER.read_text(encoding="utf-8")), "/nix/.ro-store/")
    assert share is not None
    assert (share.fs_type, share.source, share.read_only) == ("virtiofs", "nix-store-share", True)


def test_escapes_are_undone_as_bytes() -> None:
    r"""Blanks, tabs, backslashes and bytes of UTF-8 come as octal escapes."""
    (mount,) = parse(row(26, 25, r"/a\040b\011c\134d\303\251", fs=r"tmpfs my\040disk rw"))
    assert mount.mount_point == "/a b\tc\\d\u00e9"
    assert mount.source == "my disk"


@pytest.mark.parametrize("optional", ["", "shared:1 ", "shared:1 master:2 propagate_from:3 "])
def test_optional_fields_may_be_any_number(optional: str) -> None:
    """The fields before the dash do not shift those after it."""
    (mount,) = parse(f"26 25 0:23 / /x ro,nosuid {optional}- ext4 /dev/vda rw,errors=remount-ro\n")
    assert (mount.fs_type, mount.source) == ("ext4", "/dev/vda")
    assert mount.options == {"ro", "nosuid"}
    assert mount.super_options == {"rw": "", "errors": "remount-ro"}


@pytest.mark.parametrize(
    "line", ["", "nonsense", "1 2 3 4 5 6", "a b 0:1 / / rw - tmpfs none rw", "1 2 0:1 / / rw - x"]
)
def test_what_is_no_row_is_passed_over(line: str) -> None:
    """A line of another shape is no mount and no error."""
    assert parse(line) == ()


def test_the_top_of_a_stack_counts_even_when_it_comes_first() -> None:
    """What lies on top is told by the parents, not by the order of the lines."""
    text = row(31, 30, "/nix/store", "tmpfs top rw") + row(30, 25, "/nix/store", "tmpfs bottom rw") + ROOT
    mount = mount_at(parse(text), "/nix/store")
    assert mount is not None
    assert mount.source == "top"


def test_a_mount_that_another_hides_is_not_found() -> None:
    """A file system mounted over /nix later hides the store below it."""
    text = ROOT + row(30, 25, "/nix/store") + row(31, 25, "/nix")
    assert mount_at(parse(text), "/nix/store") is None


def test_a_folder_within_a_mount_is_no_mount() -> None:
    """Only the very mount point is found, and a common prefix of names is no parent."""
    mounts = parse(ROOT + row(30, 25, "/nix/store"))
    assert mount_at(mounts, "/nix/store/x") is None
    assert mount_at(mounts, "/nix/store2") is None
    assert mount_at((), "/nix/store") is None


def test_a_root_that_is_its_own_parent_ends_the_walk() -> None:
    """The kernel's first root file system names itself as its parent."""
    mounts = parse("1 1 0:2 / / rw - rootfs rootfs rw\n" + row(30, 1, "/nix/store"))
    assert mount_at(mounts, "/nix/store") == mounts[1]


@pytest.mark.parametrize(
    ("option", "layers"),
    [
        ("lowerdir=/mnt-root/a:/mnt-root/b", ("/a", "/b")),
        ("lowerdir=/mnt-root/a:/b", ("/a", "/b")),
        ("lowerdir=/sysroot-x/a", ("/sysroot-x/a",)),
        (r"lowerdir=/a\134:b:/c", ("/a:b", "/c")),
        ("lowerdir+=/sysroot/a,lowerdir+=/sysroot/b", ("/a", "/b")),
        ("upperdir=/u", ()),
    ],
)
def test_lower_layers(option: str, layers: tuple[str, ...]) -> None:
    """Each layer is named as the running system names it, in either way the kernel writes them."""
    (mount,) = parse(row(30, 25, "/nix/store", f"overlay overlay rw,{option}"))
    assert mount.lower_layers == layers


@pytest.mark.parametrize(("options", "super_options"), [("ro", "rw"), ("rw", "ro")])
def test_read_only_by_mount_or_by_file_system(options: str, super_options: str) -> None:
    """Either keeps writes away."""
    (mount,) = parse(row(30, 25, "/x", f"tmpfs none {super_options}", options))
    assert mount.read_only
