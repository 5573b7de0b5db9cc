"""Reads a kernel's release from its image."""

from __future__ import annotations

import struct
from typing import Final

# The x86 boot protocol: a magic number, and where the version's text is, less one sector.
_MAGIC: Final = (0x202, b"HdrS")
_VERSION_POINTER: Final = 0x20E
_SECTOR: Final = 0x200
_MAX_LENGTH: Final = 256
HEAD_BYTES: Final = 1 << 17


def kernel_release(image: bytes) -> str | None:
    """The release (`uname -r`) that an x86 kernel image carries in its first `HEAD_BYTES`; None for other images."""
    offset, magic = _MAGIC
    if image[offset : offset + len(magic)] != magic or len(image) < _VERSION_POINTER + 2:
        return None
    (pointer,) = struct.unpack_from("<H", image, _VERSION_POINTER)
    if not pointer:
        return None
    text, end, _ = image[pointer + _SECTOR : pointer + _SECTOR + _MAX_LENGTH].partition(b"\0")
    words = text.decode("ascii", "replace").split()
    return words[0] if end and words else None
