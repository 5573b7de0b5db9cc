from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e import configs
from tests.e2e.lab import Lab, free_port
from tests.e2e.world import World, here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NUMBERS = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Booting takes longer than a unit test may."""
    for item in items:
        item.add_marker(pytest.mark.timeout(240))


@pytest.fixture(scope="session")
def world() -> World:
    """The host that the tests run on; there is none outside of scripts/world."""
    if "NIXVM_LOOP_WORLD" not in os.environ:
        pytest.exit("end-to-end tests run inside a world: scripts/test, or scripts/world run -- pytest tests/e2e", 2)
    return here()


@pytest.fixture(scope="session")
def make_lab(world: World) -> Iterator[Callable[..., Lab]]:
    """Makes labs: `make_lab()` is root's, `make_lab(as_user=True)` that of a user in group libvirt."""
    made: list[Lab] = []
    folders: list[Path] = []

    def make(*, as_user: bool = False) -> Lab:
        prefix = world.as_user if as_user else ()
        folder = Path(tempfile.mkdtemp(prefix="lab-"))
        folders.append(folder)
        folder.chmod(0o755)
        if as_user:
            shutil.chown(folder, "nobody", "nogroup")
        base = world.user_home / folder.name if as_user else folder / "state"
        name = f"guest{next(_NUMBERS)}"
        lab = Lab(world, folder, prefix, base / name, name, free_port())
        made.append(lab)
        checkout = subprocess.run(
            [*prefix, world.repo / "scripts/lib/guest-checkout", lab.flake], capture_output=True, text=True, check=False
        )
        assert checkout.returncode == 0, checkout.stderr
        lab.configure(configs.made(lab))
        return lab

    yield make
    for lab in made:
        lab.remove()
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
