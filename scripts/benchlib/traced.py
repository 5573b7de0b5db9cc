"""`python -m benchlib.traced FILE ARGUMENTS...`: nixvm-loop with its waits written to FILE, one JSON object a line."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from nixvm_loop.cli import main
from nixvm_loop.spans import LOGGER, Span


class _SpanFile(logging.Handler):
    """Writes every span at once, so that a program that is stopped leaves its spans."""

    def __init__(self, file: TextIO) -> None:
        super().__init__()
        self._file = file

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.args, tuple) and isinstance(span := record.args[0], Span):
            self._file.write(json.dumps(asdict(span)) + "\n")


def _run() -> int:
    file, sys.argv[1:] = Path(sys.argv[1]), sys.argv[2:]
    logger = logging.getLogger(LOGGER)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    with file.open("w", buffering=1, encoding="utf-8") as lines:
        logger.addHandler(_SpanFile(lines))
        return main()


if __name__ == "__main__":
    sys.exit(_run())
