from __future__ import annotations

import struct

import pytest

from nixvm_loop.verify import kernel_release


def image(version: bytes, *, pointer: int = 0x3000, magic: bytes = b"HdrS") -> bytes:
    """The head of an x86 kernel image."""
    head = bytearray(0x10000)
    head[0x202:0x206] = magic
    struct.pack_into("<H", head, 0x20E, pointer)
    head[pointer + 0x200 : pointer + 0x200 + len(version)] = version
    return bytes(head)


def test_the_release_is_the_first_word_of_the_version() -> None:
    """What the kernel's build wrote after the release is left out."""
    assert kernel_release(image(b"6.1.0-56-cloud-amd64 (builder@host) #1 SMP\0rest")) == "6.1.0-56-cloud-amd64"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x7fELF" + bytes(0x300),
        image(b"6.1", magic=b"XXXX"),
        image(b"6.1", pointer=0),
        image(b"6.1")[:0x20F],
        image(b"6.1")[:0x3100],
        image(b"\0"),
        image(b"x" * 400),
    ],
)
def test_other_images_tell_no_release(data: bytes) -> None:
    """No guess is made from a file of another kind, or cut short."""
    assert kernel_release(data) is None
