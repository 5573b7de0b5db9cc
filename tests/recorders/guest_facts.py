"""Records what a running guest's shell answers to the facts script, for tests/guest/answers.

Usage: guest_facts.py NAME PORT KEY [STORE_PATH...]     the guest's sshd is on 127.0.0.1:PORT; writes answers/NAME.txt
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from nixvm_loop.guest import Access, FactsRequest, HostKeys, reach
from nixvm_loop.guest.script import Reader
from nixvm_loop.model.clock import SystemClock
from nixvm_loop.model.settings import HostKeyPolicy, StoreSettings
from nixvm_loop.model.values import SshTarget

_ANSWERS = Path(__file__).parent.parent / "guest" / "answers"


async def _record(name: str, port: int, key: Path, paths: tuple[str, ...]) -> None:
    access = Access(name, SshTarget("127.0.0.1", port), "root", key, HostKeyPolicy.OFF)
    host_keys = HostKeys(key.parent, name, HostKeyPolicy.OFF)
    connection = await reach(access, host_keys=host_keys, emit=lambda _: None, clock=SystemClock(), timeout_s=60.0)
    request = FactsRequest(StoreSettings(), paths, nonce="recorded")
    result = await connection.run(request.script.command(Reader.LOGIN_SHELL), 30.0, stdin=request.script.stdin)
    await connection.close()
    target = _ANSWERS / f"{name}.txt"
    target.parent.mkdir(exist_ok=True)
    target.write_text(result.stdout, encoding="utf-8")
    print(f"{target}: {result.end}, {len(result.stdout)} characters")


if __name__ == "__main__":
    if len(sys.argv) < 4:  # as the usage says
        sys.exit(str(__doc__))
    asyncio.run(_record(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), tuple(sys.argv[4:])))
