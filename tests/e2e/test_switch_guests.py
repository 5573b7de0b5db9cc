"""What the guests do in a live switch asked for by hand: `nixvm-loop ssh …/bin/switch-to-configuration test`."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e import configs

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.lab import Lab

ATTRIBUTE = "nixosConfigurations.demo.config.system.build.toplevel"
STAYS, GOES, CHANGES = 'stays = "sleep 901";', 'goes = "sleep 902";', 'changes = "sleep 903";'
COMES, CHANGED = 'comes = "sleep 904";', 'changes = "sleep 905";'
FAILING = "echo at it; exit 7"
SCRATCH = '{ device = "tmpfs"; fsType = "tmpfs"; options = [ "ro" ]; }'
CURRENT = "readlink /run/current-system"
# The booted system, the boot, the mounts of the store: what no switch changes.
BOOT = "readlink /run/booted-system; cat /proc/sys/kernel/random/boot_id"
LASTING = f"{BOOT}; cut -d ' ' -f 3- /proc/self/mountinfo | grep /nix/"
# Each service with its process or how it ended, and each `sleep` that runs.
SERVICES = r"""
    for name in $(ls /run/services); do
        while read -r pid _ status </run/services/$name && [ "$pid" = 0 ]; do usleep 50000; done
        echo "$name ${status:-$pid}"
    done
    for pid in $(pidof sleep); do echo "$(tr '\0' ' ' </proc/$pid/cmdline) $pid"; done"""


def built(lab: Lab) -> str:
    """The system of the flake as it stands, built and held by a root."""
    link = lab.folder / "next"
    done = lab.run("nix", "build", "--no-warn-dirty", "-o", str(link), f"{lab.flake}#{ATTRIBUTE}")
    assert done.returncode == 0, done.stderr
    return str(link.readlink())


def switch(
    lab: Lab, system: str, verb: str = "test", *, before: str = ":", after: str = ":"
) -> subprocess.CompletedProcess[str]:
    """What a user types, its output and its exit code; `before` and `after` ask for more in the same connection."""
    program = f"{system}/bin/switch-to-configuration {verb}"
    return lab.loop("ssh", f"{before}\n{program}\ncode=$?\n{after}\nexit $code")


def by_name(lines: list[str]) -> dict[str, str]:
    """What SERVICES prints: the process, or the end, of each."""
    pairs = [line.rsplit(maxsplit=1) for line in lines]
    return {name.strip(): state for name, state in pairs}


@pytest.fixture(scope="module")
def mini(make_lab: Callable[..., Lab]) -> Lab:
    """The mini guest, booted once, with three services and an activation that fails: a boot says so and goes on."""
    lab = make_lab()
    lab.edit("configuration.nix", "services = { }", f"services = {{ {STAYS} {GOES} {CHANGES} }}")
    lab.edit("configuration.nix", 'activation = ""', f'activation = "{FAILING}"')
    assert lab.loop("create").returncode == 0
    done = lab.loop("rebuild", "-v", "-o", "json")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "stage-2: the configuration's activation failed" in done.stdout
    lab.guest("until [ -e /run/nixos/booted ]; do usleep 50000; done")
    return lab


def test_files_and_services_follow_and_nothing_else(mini: Lab) -> None:
    """Files of /etc are added, changed and removed; services start, stop, restart and stay; no mount and no boot."""
    mini.edit("configuration.nix", FAILING, "")
    mini.edit("configuration.nix", "Hello from the mini guest.", "Live.")
    mini.edit("configuration.nix", "etc = { }", r'etc = { "deep/er/file" = "one\n"; top = "two\n"; }')
    mini.edit("configuration.nix", f"{GOES} {CHANGES}", f"{COMES} {CHANGED}")
    system = built(mini)
    foretold = switch(mini, system, "dry-activate", before=f"{LASTING}; echo", after=f"cat /etc/motd; {SERVICES}")
    lasting, _, rest = foretold.stdout.partition("\n\n")
    motd, *before = rest.splitlines()
    assert (foretold.returncode, motd) == (0, "Hello from the mini guest.")
    assert foretold.stderr.splitlines() == [
        "would stop the following units: goes",
        "would activate the configuration...",
        "would restart the following units: changes",
        "would start the following units: comes",
    ]
    done = switch(mini, system, after=f"cat /etc/motd /etc/deep/er/file /etc/top; {CURRENT}; {SERVICES}")
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "stopping the following units: goes",
        "activating the configuration...",
        "restarting the following units: changes",
        "starting the following units: comes",
    ]
    assert done.stdout.splitlines()[:4] == ["Live.", "one", "two", system]
    old, new = by_name(before), by_name(done.stdout.splitlines()[4:])
    assert {name for name in new if name.startswith("sleep")} == {"sleep 86400", "sleep 901", "sleep 904", "sleep 905"}
    assert (new["stays"], "goes" in old, "goes" in new) == (old["stays"], True, False)
    assert new["changes"] != old["changes"]

    mini.edit("configuration.nix", r' "deep/er/file" = "one\n";', "")
    mini.edit("system.nix", "$out/var/log", "$out/var/log; ln -s /tmp $out/added")
    again = switch(mini, built(mini), after=f"[ -e /etc/deep ] || cat /added/../etc/top; {SERVICES}; echo; {LASTING}")
    services, _, lasting_now = again.stdout.partition("\n\n")
    assert (again.returncode, again.stderr) == (0, "activating the configuration...\n")
    assert (services.splitlines()[0], by_name(services.splitlines()[1:])) == ("two", new)
    assert lasting_now.strip() == lasting


def test_a_service_that_fails_is_named(mini: Lab) -> None:
    """Exit 4, with everything else done; a next switch starts it again; without it all is well."""
    with mini.edited("configuration.nix", COMES, f'{COMES} bad = "echo no; exit 3";'):
        system = built(mini)
    first, second = (switch(mini, system, after=f"{CURRENT}; {SERVICES}") for _ in range(2))
    for done in (first, second):
        assert done.returncode == 4
        assert done.stderr.splitlines() == [
            "activating the configuration...",
            "starting the following units: bad",
            "warning: the following units failed: bad",
        ]
        assert done.stdout.splitlines()[0] == system
        assert by_name(done.stdout.splitlines()[1:])["bad"] == "3"
    without = switch(mini, built(mini), after=SERVICES)
    assert (without.returncode, "bad" in by_name(without.stdout.splitlines())) == (0, False)


def test_an_activation_that_fails(mini: Lab) -> None:
    """Exit 2, and the rest is done."""
    with mini.edited("configuration.nix", 'activation = ""', f'activation = "{FAILING}"'):
        system = built(mini)
    done = switch(mini, system, after=CURRENT)
    assert (done.returncode, done.stdout) == (2, f"at it\n{system}\n")
    assert "Failed to run activate script" in done.stderr.splitlines()


def test_the_mounts_of_the_store_are_left_alone(mini: Lab) -> None:
    """The other entries of fstab are followed: mounted anew, added, removed; what is below /nix is only named."""
    mini.edit("file-systems.nix", '"/nix/store" =', f'"/srv/new-one" = {SCRATCH};\n  "/nix/store" =')
    mini.edit(
        "file-systems.nix", 'fsType = "virtiofs"; options = [ "ro" ]', 'fsType = "virtiofs"; options = [ "nodev" ]'
    )
    mini.edit("file-systems.nix", '"nosuid"', '"noexec"')
    others = "grep -e ' /dev/shm ' -e ' /srv/new-one ' /proc/mounts"
    done = switch(mini, built(mini), before=f"{LASTING}; echo", after=f"{LASTING}; echo; {others}")
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        r"NOT restarting the following changed units: nix-.ro\x2dstore.mount",
        "activating the configuration...",
        "reloading the following units: dev-shm.mount",
        r"starting the following units: srv-new\x2done.mount",
    ]
    before, after, mounted = done.stdout.split("\n\n")
    assert before == after
    options = [line.split()[3].split(",") for line in mounted.splitlines()]
    assert ("noexec" in options[0], "ro" in options[1]) == (True, True)
    mini.edit("file-systems.nix", '"/srv/new-one"', '"/nix/other"')
    done = switch(mini, built(mini), after=f"{LASTING}; echo; {others}")
    after, mounted = done.stdout.split("\n\n")
    assert (done.returncode, before) == (0, after)
    assert [line.split()[1] for line in mounted.splitlines()] == ["/dev/shm"]


def test_what_cannot_be_switched(mini: Lab) -> None:
    """Another init is exit 100, a held lock and a wrong verb are 1; nothing has changed; a dead owner holds nothing."""
    with mini.edited("configuration.nix", "mini 1", "mini 2"):
        system = built(mini)
    lock = "/run/nixos/switch-to-configuration.lock"
    refused = switch(mini, system, before=CURRENT, after=f"{CURRENT}; echo 1 >{lock}")
    assert (refused.returncode, "it takes a boot" in refused.stderr) == (100, True)
    locked = switch(mini, system, after=f"echo 4194304 >{lock}")
    assert (locked.returncode, locked.stderr) == (1, "Could not acquire lock\n")
    checked = switch(mini, system, "check", after=f"ls /run/nixos; {CURRENT}")
    assert checked.returncode == 0
    wrong = switch(mini, system, "tset", after=CURRENT)
    assert (wrong.returncode, "[check|switch|boot|test|dry-activate]" in wrong.stderr) == (1, True)
    current, now = refused.stdout.splitlines()
    assert (now, checked.stdout.splitlines(), wrong.stdout.strip()) == (current, ["booted", current], current)


# Started on its own, so that it outlives the connection; its output and its exit code are in files.
DETACHED = (
    "systemd-run --quiet --no-block sh -c '{} >/run/said 2>&1; echo $? >/run/code.new; mv /run/code.new /run/code'"
)
SLEEPS = "pgrep -a sleep"


def unit(seconds: int, *more: str) -> str:
    """A service that sleeps, as a Nix string."""
    return "\\n".join(("[Service]", f"ExecStart=/usr/bin/sleep {seconds}", *more, ""))


OLD_UNITS = {
    "stays": unit(901),
    "goes": unit(902),
    "changes": unit(903),
    "keeps": unit(904, "X-RestartIfChanged=false"),
    "reloads": unit(905, "X-ReloadIfChanged=true", "ExecReload=/usr/bin/touch /run/reloaded-once"),
}
NEW_UNITS = {
    "stays": unit(901),
    "comes": unit(912),
    "changes": unit(913),
    "keeps": unit(914, "X-RestartIfChanged=false"),
    "reloads": unit(915, "X-ReloadIfChanged=true", "ExecReload=/usr/bin/touch /run/reloaded-twice"),
    "bad": "[Service]\\nExecStart=/usr/bin/false\\n",
}


def units(texts: dict[str, str]) -> str:
    """Units and what starts them, in the words of the guest's configuration."""
    each = " ".join(f'"{name}.service" = "{text}";' for name, text in texts.items())
    names = " ".join(f'"{name}.service"' for name in texts)
    return f"units = {{ {each} }}; start = [ {names} ];"


def sleeping(lines: list[str]) -> dict[str, str]:
    """What SLEEPS prints: the units' processes, by how long each sleeps."""
    return {line.split()[2]: line.split()[0] for line in lines}


@pytest.fixture(scope="module")
def systemd(make_lab: Callable[..., Lab]) -> Lab:
    """The systemd guest, booted once."""
    lab = make_lab()
    subprocess.run(["rm", "-r", lab.flake], check=True)
    checkout = Path(__file__).parents[1] / "guests/systemd/checkout"
    subprocess.run([checkout, lab.flake], check=True, stdout=subprocess.DEVNULL)
    lab.configure(configs.made(lab, memory="768MiB", vcpus=2, boot_timeout="150s"))
    lab.edit("configuration.nix", "units = { };\n  start = [ ];", units(OLD_UNITS))
    assert lab.loop("create").returncode == 0
    lab.cycle()
    return lab


@pytest.mark.timeout(300)
def test_units_follow_and_the_switch_outlives_sshd(systemd: Lab) -> None:
    """Units start, stop, restart, reload and stay; a failed one is exit 4; sshd's restart cuts the connection only."""
    systemd.edit("configuration.nix", units(OLD_UNITS), units(NEW_UNITS))
    systemd.edit("configuration.nix", "etc = { }", r'etc = { motd = "Live.\n"; }')
    systemd.edit("units/ssh.service", "KillMode=process", "KillMode=control-group\nX-StopIfChanged=false")
    system = built(systemd)
    command = DETACHED.format(f"{system}/bin/switch-to-configuration test")
    cut = systemd.loop("ssh", f"{SLEEPS}; {LASTING}; {command}; echo started; sleep 200")
    assert (cut.returncode, cut.stdout.splitlines()[-1]) == (255, "started")
    before, lasting = sleeping(cut.stdout.splitlines()[:5]), cut.stdout.splitlines()[5:-1]

    look = f"{SLEEPS}; {LASTING}; cat /run/code; {CURRENT}; cat /etc/motd; ls /run/reloaded-*; cat /run/said"
    deadline = time.monotonic() + 60
    while (seen := systemd.loop("ssh", f"until [ -e /run/code ]; do sleep 1; done; {look}")).returncode != 0:
        assert time.monotonic() < deadline, seen.stderr
    lines = seen.stdout.splitlines()
    after, lasting_now, lines = sleeping(lines[:5]), lines[5 : 5 + len(lasting)], lines[5 + len(lasting) :]
    assert lines[:4] == ["4", system, "Live.", "/run/reloaded-twice"]
    assert lines[4:12] == [
        "stopping the following units: changes.service, goes.service",
        "NOT restarting the following changed units: keeps.service",
        "activating the configuration...",
        "reloading the following units: reloads.service",
        "restarting the following units: ssh.service",
        "starting the following units: changes.service",
        "the following new units were started: comes.service",
        "warning: the following units failed: bad.service",
    ]
    assert set(after) == {"901", "904", "905", "912", "913"}
    kept = ("901", "904", "905")
    assert [after[name] for name in kept] == [before[name] for name in kept]
    assert lasting_now == lasting


@pytest.mark.timeout(300)
def test_nixvm_loop_switches_a_guest_whose_sshd_restarts(systemd: Lab) -> None:
    """As a unit of its own, followed over the cut to its end; a unit that fails is exit 7, and the guest stays."""
    config = (systemd.folder / "nixvm-loop.toml").read_text()
    systemd.configure(config.replace('stop = "force"', 'stop = "force"\nmode = "auto"'))
    boot, booted = systemd.boot_id(), systemd.booted()
    ssh_unit = (systemd.flake / "units/ssh.service").read_text()
    systemd.write(systemd.flake / "units/ssh.service", f"# Another.\n{ssh_unit}")
    failed = systemd.loop("rebuild", "-o", "json", timeout_s=200)
    assert failed.returncode == 7, failed.stdout[-3000:]
    events = [json.loads(line) for line in failed.stdout.splitlines()]
    chosen = [one for one in events if one["type"] == "action_chosen"]
    assert [one["action"] for one in chosen] == ["switch"], chosen[0]["reasons"]
    check = next(one for one in events if one["type"] == "check_finished" and one["check"] == "failed-units")
    assert (check["ok"], "bad.service" in check["actual"]) == (False, True)
    said = [one["line"] for one in events if one["type"] == "switch_log"]
    assert "restarting the following units: ssh.service" in said
    assert any(line.startswith("warning: the following units failed: bad.service") for line in said), said
    assert systemd.guest(CURRENT) == systemd.toplevel()

    good = {name: text for name, text in NEW_UNITS.items() if name != "bad"}
    systemd.edit("configuration.nix", units(NEW_UNITS), units(good))
    ended = systemd.cycle()
    assert (ended["verdict"], ended["action"]) == ("ok", "switch")
    assert (systemd.boot_id(), systemd.booted()) == (boot, booted)
    assert systemd.guest(CURRENT) == systemd.toplevel()
