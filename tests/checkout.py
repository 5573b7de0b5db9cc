"""The checkout, and how what a test starts finds it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
# In a build by Nix, what nixvm-loop needs is found by this variable only.
PYTHONPATH: Final = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
