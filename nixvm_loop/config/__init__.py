"""TOML to settings: finds the file, checks all of it at once, and describes its keys as a JSON schema."""

from __future__ import annotations

from nixvm_loop.config.document import load, loads
from nixvm_loop.config.locate import FILE_NAME, find, select, select_for
from nixvm_loop.config.schema import schema

__all__ = ["FILE_NAME", "find", "load", "loads", "schema", "select", "select_for"]
