"""A guest in a network of libvirt's: its lease is the way to it, and no port of the host is taken."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.lab import Lab

NETWORK = """<network><name>nixvm-test</name><bridge name='nixvmtest0' stp='off' delay='0'/>
<ip address='10.77.0.1' netmask='255.255.255.0'><dhcp><range start='10.77.0.10' end='10.77.0.99'/></dhcp></ip>
</network>"""


def _no_network_to_try_in() -> str | None:
    cards = [line.partition(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]]
    if [card for card in cards if card.startswith(("eth", "en", "wl"))]:
        return "this world is in the host's own network"
    return None if shutil.which("dnsmasq") else "dnsmasq is not installed"


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A network of libvirt's, defined and not started."""
    if (why := _no_network_to_try_in()) is not None:
        pytest.skip(f"NOT CHECKED: {why}")
    file = tmp_path_factory.mktemp("network") / "network.xml"
    file.write_text(NETWORK)
    subprocess.run(["virsh", "-q", "net-define", file], check=True)
    yield "nixvm-test"
    subprocess.run(["virsh", "-q", "net-destroy", "nixvm-test"], check=False)
    subprocess.run(["virsh", "-q", "net-undefine", "nixvm-test"], check=True)


@pytest.fixture(scope="module")
def networked(make_lab: Callable[..., Lab], network: str) -> Lab:
    """A guest with a card in the network, and no port of the host."""
    lab = make_lab()
    lab.configure(
        (lab.folder / "nixvm-loop.toml").read_text().replace(f"ssh_port = {lab.port}", f'networks = ["{network}"]')
    )
    return lab


def test_a_network_that_is_not_up(networked: Lab, network: str) -> None:
    """It is named, with the command that starts it, and nothing was made."""
    said = networked.fails(5, command="create")
    assert f"libvirt's network {network} is not active" in said
    assert f"virsh net-start {network}" in said
    assert not networked.state.exists()
    networked.virsh("net-start", network)


def test_the_lease_leads_to_the_guest(networked: Lab, network: str) -> None:
    """The guest is reached at its own address, which stays the same over restarts, on port 22."""
    created = networked.loop("create", "--start")
    assert created.returncode == 0, created.stdout + created.stderr
    leases = networked.virsh("net-dhcp-leases", network)
    address = networked.loop("ssh", "ip addr show eth0 | grep -o '10[.]77[.]0[.][0-9]*' | head -n 1").stdout.strip()
    assert address.startswith("10.77.0.")
    assert address in leases
    assert networked.cycle("--force")["verdict"] == "ok"
    assert networked.virsh("net-dhcp-leases", network).count("10.77.0.") == 1
    assert networked.cycle()["verdict"] == "unchanged"


def test_a_network_that_goes_down_stops_nothing(networked: Lab, network: str) -> None:
    """The cycle says so before it stops the guest."""
    running = networked.virsh("domid", networked.name)
    networked.virsh("net-destroy", network)
    try:
        assert f"virsh net-start {network}" in networked.fails(5, "--force")
        assert networked.virsh("domid", networked.name) == running
    finally:
        networked.virsh("net-start", network)
    assert networked.cycle("--force")["verdict"] == "ok"
