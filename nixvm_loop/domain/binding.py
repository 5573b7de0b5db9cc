"""Libvirt's library: loaded late, its events served by a thread, its calls made in threads with a time limit."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeVar

from nixvm_loop.errors import DomainError
from nixvm_loop.spans import SpanKind, span

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")

CALL_TIMEOUT_S: Final = 30.0


@cache
def library() -> Any:
    """The libvirt module, with its event loop running.

    Raises:
        DomainError: libvirt's Python bindings or their library are missing.
    """
    try:
        import libvirt  # noqa: PLC0415  # costs 20 ms that --help need not pay
    except ImportError as error:
        raise DomainError(
            f"libvirt's Python bindings cannot be loaded: {error}",
            hint="install libvirt (Debian: libvirt0, python3-libvirt)",
        ) from error
    # Errors arrive as exceptions; without this they are printed as well.
    libvirt.registerErrorHandler(lambda *_: None, None)
    # Not libvirtaio: it belongs to the first event loop for ever and is not safe from other threads.
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=_serve_events, args=(libvirt,), name="libvirt-events", daemon=True).start()
    return libvirt


def _serve_events(libvirt: Any) -> None:
    while True:
        with suppress(libvirt.libvirtError):
            libvirt.virEventRunDefaultImpl()


def post(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *arguments: object) -> None:
    """Call `function` in `loop` from any thread; nothing happens when the loop has been closed."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *arguments)


async def call(
    doing: str, function: Callable[..., Result], *arguments: object, timeout_s: float = CALL_TIMEOUT_S
) -> Result:
    """Make a blocking call of libvirt's in a thread of its own.

    When the time is over, or the caller is cancelled, the call itself goes on; nobody hears of its end.

    Raises:
        DomainError: there was no answer within `timeout_s`; `doing` completes "libvirt did not answer …".
        libvirt.libvirtError: what the call raised.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # a result, where there is no error

    def work() -> None:
        result, failure = None, None
        try:
            with span(SpanKind.LIBVIRT, doing):
                result = function(*arguments)
        except BaseException as error:  # noqa: BLE001  # it is raised where the result is awaited
            failure = error
        post(loop, settle, result, failure)

    # Not the executor of asyncio: leaving the program would wait for a call that never returns.
    threading.Thread(target=work, name="libvirt-call", daemon=True).start()
    try:
        async with asyncio.timeout(timeout_s):
            return await future
    except TimeoutError as error:
        raise DomainError(
            f"libvirt did not answer within {timeout_s:.0f}s while {doing}",
            hint="is its daemon busy or stuck? `virsh list` shows whether it answers",
        ) from error
