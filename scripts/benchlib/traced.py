"""`python -m benchlib.traced FILE ARGUMENTS...`: nixvm-loop with its waits written to FILE, one JSON object a line."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from nixvm_loop.__main__ import run
from nixvm_loop.spans import LOGGER, Span


class _SpanFile(logging.Handler):
    """Writes every span at once, so that a program that is stopped leaves its spans."""

    def __init__(self, file: TextIO) -> None:
        super().__init__()
        self._file = file

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.args, tuple) and isinstance(span := record.args[0], Span):
            self._file.write(json.dumps(asdict(span)) + "\n")


def _run() -> None:
    file, sys.argv[1:] = Path(sys.argv[1]), sys.argv[2:]
    logger = logging.getLogger(LOGGER)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    with file.open("w", buffering=1, encoding="utf-8") as lines:
        logger.addHandler(_SpanFile(lines))
        run()


if __name__ == "__main__":
    _run()
