from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# A script starts its background jobs with SIGINT ignored; what the tests start would be so as well, for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is.
settings.register_profile("nixvm-loop", deadline=None)
settings.load_profile("nixvm-loop")


@pytest.fixture
def real_nix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nix as it is installed, without sandbox and caches where nobody configured it."""
    if shutil.which("nix") is None:
        pytest.skip("nix is not installed")
    if "NIX_CONFIG" not in os.environ and not Path("/etc/nix/nix.conf").exists():
        monkeypatch.setenv("NIX_CONFIG", "sandbox = false\nbuild-users-group =\nsubstituters =\n")
