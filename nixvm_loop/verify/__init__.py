"""Expected and facts make checks. Pure: nothing here looks at a guest."""

from __future__ import annotations

from nixvm_loop.verify.checks import checks
from nixvm_loop.verify.expected import Expected, HostShare
from nixvm_loop.verify.kernel import kernel_release
from nixvm_loop.verify.unseen import Unseen, unseen
from nixvm_loop.verify.users import UserResult, failure, user_check

__all__ = [
    "Expected",
    "HostShare",
    "Unseen",
    "UserResult",
    "checks",
    "failure",
    "kernel_release",
    "unseen",
    "user_check",
]
