"""nixvm-loop: build a NixOS guest on each save, boot it, and prove that the guest runs it."""

from __future__ import annotations

__version__ = "0.1.0"
