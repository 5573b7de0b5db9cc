"""`doctor` on real parts, each broken for real: found by its id, and cured by the fix that stands there."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.lab import Lab

PROGRAM = "printf '#!/bin/sh\\necho one\\n' > $out/bin/one; chmod +x $out/bin/one"
# For so long, virtiofs takes its own word for what it has seen.
REMEMBERED_S = 1.5
SOURCE = "<source dir='/nix/store'/>"
GONE_QEMU = Path("/run/qemu-that-goes")


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Iterator[Lab]:
    """A verified guest of root's with a small path of its own in its system."""
    made = make_lab()
    made.edit("configuration.nix", "packages = { };", f"packages = {{ one = ''mkdir -p $out/bin; {PROGRAM}''; }};")
    assert made.loop("create", "--start").returncode == 0
    yield made
    made.remove()


def examined(lab: Lab, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    """The events of one `doctor`; it has to end with this exit code."""
    done = lab.loop("doctor", "-o", "json", *arguments)
    assert "Traceback" not in done.stderr, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == code, (found(events), done.stderr)
    return events


def ids(lab: Lab, *arguments: str, code: int = 0) -> set[str]:
    """The ids that one `doctor` finds."""
    return set(found(examined(lab, *arguments, code=code)))


def found(events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The findings by their ids."""
    return {event["id"]: event for event in events if event["type"] == "finding"}


def probes(events: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    """Outcome and word of each probe, by area and name."""
    return {
        f"{event['area']}/{event['probe']}": (event["outcome"], event["said"])
        for event in events
        if event["type"] == "probe_finished"
    }


@pytest.fixture
def path(lab: Lab) -> Path:
    """The small path."""
    return Path(lab.guest("dirname $(dirname $(readlink -f /run/current-system/sw/bin/one))"))


def test_nothing_on_a_healthy_guest(lab: Lab) -> None:
    """No finding at all, exit 0, soon; and what was kept of the guest is as it was."""
    before = {name: (lab.state / name).read_bytes() for name in ("seen.json", "ssh/known_hosts", "journal.jsonl")}
    began = time.monotonic()
    events = examined(lab)
    seconds = time.monotonic() - began
    assert found(events) == {}
    assert {outcome for name, (outcome, _) in probes(events).items() if name != "guest/units"} == {"ok"}
    assert probes(events)["guest/units"] == ("not possible", "the guest has no systemd")
    assert {name: (lab.state / name).read_bytes() for name in before} == before
    assert seconds < 10, "2 s on a machine that has nothing else to do"


def test_a_guest_of_a_user(make_lab: Callable[..., Lab]) -> None:
    """Who is not root has no finding either; what only root may read is said to be that."""
    lab = make_lab(as_user=True)
    assert lab.loop("create", "--start").returncode == 0
    events = examined(lab)
    assert found(events) == {}
    odd = {name for name, (outcome, _) in probes(events).items() if outcome != "ok"}
    assert odd == {"guest/units", "logs/qemu", "logs/virtiofsd", "logs/kernel"}
    lab.remove()


def test_a_path_that_the_overlay_hides(lab: Lab, path: Path) -> None:
    """Looked up while it was away: named, exit 7, and cured by --fix."""
    aside = path.with_name("aside")
    path.rename(aside)
    time.sleep(REMEMBERED_S)
    assert lab.guest(f"echo 2 >/proc/sys/vm/drop_caches; [ -e {path} ] || echo missing") == "missing"
    gone = found(examined(lab, code=7))
    assert gone.keys() == {"store-gone"}
    assert str(path) in gone["store-gone"]["evidence"]
    aside.rename(path)
    time.sleep(REMEMBERED_S)
    hidden = found(examined(lab, code=7))
    assert hidden.keys() == {"store-hidden"}
    assert hidden["store-hidden"]["evidence"] == str(path)
    assert "verify --refresh" in hidden["store-hidden"]["fix"]
    assert found(examined(lab, "--fix", "--yes", code=7)).keys() == {"store-hidden"}
    assert found(examined(lab)) == {}


def test_a_path_that_was_replaced(lab: Lab, path: Path) -> None:
    """Deleted and built again under the guest: told apart from a hidden one, and cured likewise."""
    aside = path.with_name("aside")
    lab.guest(f"cat {path}/bin/one")
    shutil.copytree(path, aside, symlinks=True)
    shutil.rmtree(path)
    aside.rename(path)
    time.sleep(REMEMBERED_S)
    lab.guest(f"ls /nix/.ro-store/{path.name}")
    stale = found(examined(lab, code=7))
    assert stale.keys() == {"store-stale"}
    assert stale["store-stale"]["evidence"] == str(path)
    assert lab.loop("verify", "--refresh").returncode == 0
    assert found(examined(lab)) == {}


def test_the_system_was_collected_under_the_guest(lab: Lab) -> None:
    """The whole system deleted from the host's store by force: named, and built again by the next cycle."""
    toplevel = (lab.state / "generations/1/toplevel").readlink()
    deleted = lab.run("nix-store", "--delete", "--ignore-liveness", str(toplevel))
    assert deleted.returncode == 0, deleted.stderr
    done = lab.loop("doctor", "-o", "json")
    assert done.returncode in {6, 7}, "such a guest may not let anybody in any more"
    events = found([json.loads(line) for line in done.stdout.splitlines()])
    assert {"store-gone", "state-damaged"} <= events.keys()
    assert events["store-gone"]["evidence"] == str(toplevel)
    assert "nixvm-loop rebuild" in events["store-gone"]["fix"]
    lab.cycle()
    assert ids(lab) == set()


def test_nobody_to_ask(lab: Lab, path: Path) -> None:
    """Without a terminal, --fix changes nothing and says so."""
    path.rename(path.with_name("aside"))
    time.sleep(REMEMBERED_S)
    lab.guest(f"echo 2 >/proc/sys/vm/drop_caches; [ -e {path} ] || true")
    path.with_name("aside").rename(path)
    time.sleep(REMEMBERED_S)
    done = subprocess.run(
        ["nixvm-loop", "doctor", "--fix"],
        cwd=lab.folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 2
    assert "there is nobody to ask" in done.stderr
    assert found(examined(lab, "--fix", "--yes", code=7)).keys() == {"store-hidden"}
    assert found(examined(lab)) == {}


def pid_of(program: str) -> int:
    """The oldest process of this world with this name."""
    listed = subprocess.run(["pgrep", "-o", "-x", program], capture_output=True, text=True, check=True)
    return int(listed.stdout)


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Processes that do nothing more while the block runs."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def with_env(lab: Lab, *words: str) -> set[str]:
    """What is found when `doctor` runs by another command, or in another environment."""
    done = lab.run("env", *words, "nixvm-loop", "doctor", "-o", "json")
    assert "Traceback" not in done.stderr, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == next((2 for one in found(events).values() if one["severity"] == "error"), 0)
    return set(found(events))


def defined(lab: Lab, *edits: tuple[str, str]) -> None:
    """The domain's definition with these edits, as an older libvirt may have left it: not checked, only loaded."""
    file = Path(f"/etc/libvirt/qemu/{lab.name}.xml")
    text = file.read_text()
    for old, new in edits:
        text, count = re.subn(old, new, text, count=1, flags=re.DOTALL)
        assert count == 1, old
    before = lab.virsh("dumpxml", "--inactive", lab.name)
    file.write_text(text)
    os.kill(pid_of("libvirtd"), signal.SIGHUP)
    deadline = time.monotonic() + 20
    while lab.virsh("dumpxml", "--inactive", lab.name) == before and time.monotonic() < deadline:
        time.sleep(0.1)


def until_it_answers(lab: Lab) -> None:
    """Wait until the guest's sshd lets somebody in."""
    deadline = time.monotonic() + 60
    while lab.run(*lab.ssh("true")).returncode and time.monotonic() < deadline:
        time.sleep(0.3)


def test_a_host_without_nix(lab: Lab, tmp_path: Path) -> None:
    """Not installed, without its daemon, with a store that it does not know: told apart; all else is looked at."""
    assert with_env(lab, f"PATH=/run/nixvm-loop/bin:{tmp_path}") == {"nix-missing"}
    assert with_env(lab, "NIX_REMOTE=daemon", "NIX_DAEMON_SOCKET_PATH=/nonexistent") == {"nix-daemon"}
    assert "nix-fails" in with_env(lab, "NIX_REMOTE=bogus://store")


def test_what_a_process_may_open(lab: Lab) -> None:
    """Few descriptors and few inotify watches are found."""
    done = lab.run("sh", "-c", "ulimit -n 256; exec nixvm-loop doctor -o json")
    assert found([json.loads(line) for line in done.stdout.splitlines()]).keys() == {"few-descriptors"}
    fewer = "echo 100 >/proc/sys/user/max_inotify_watches; exec nixvm-loop doctor -o json"
    done = lab.run("unshare", "-Ur", "sh", "-c", fewer)
    assert "few-watches" in found([json.loads(line) for line in done.stdout.splitlines()])


def test_a_full_disk(lab: Lab) -> None:
    """A state directory on a disk without room is found, and a foreign file in it."""
    small = lab.folder / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0755", "tmpfs", small], check=True)
    try:
        shutil.copytree(lab.state, small / lab.name, symlinks=True)
        (small / lab.name / "generations/stray").touch()
        subprocess.run(["mount", "--bind", small / lab.name, lab.state], check=True)
        try:
            assert ids(lab) == {"disk-space", "state-damaged"}
            subprocess.run(["mount", "-o", "remount,ro,bind", lab.state], check=True)
            assert ids(lab, code=2) == {"disk-space", "state-damaged", "state-dir"}
        finally:
            subprocess.run(["umount", lab.state], check=True)
    finally:
        subprocess.run(["umount", small], check=True)
    assert ids(lab) == set()


def test_configs_that_do_not_do(lab: Lab) -> None:
    """A slip in a key, a flake that is not there with a state that is another's, a file that git does not track."""
    with lab.configured("ssh_port", "shs_port"):
        events = examined(lab, code=2)
    assert found(events).keys() == {"config-invalid"}
    assert "shs_port" in found(events)["config-invalid"]["evidence"]
    with lab.configured('flake = "./guest"', 'flake = "./nowhere"'):
        assert {"no-flake", "state-dir"} <= ids(lab, code=2)
    lab.write(lab.flake / "extra.nix", "{ }")
    with lab.edited("configuration.nix", "packages =", "# see extra.nix\n  packages ="):
        assert ids(lab) == {"untracked-file"}
        lab.run("git", "-C", str(lab.flake), "add", "-N", "extra.nix")
        assert ids(lab) == set()
    lab.run("git", "-C", str(lab.flake), "rm", "-q", "--cached", "-f", "extra.nix")
    (lab.flake / "extra.nix").unlink()


def test_libvirt_refuses(lab: Lab, make_lab: Callable[..., Lab]) -> None:
    """Not running, no such driver, not for this user: told apart; what needs libvirt says that it was not possible."""
    for uri, name in (("qemu:///system?socket=/run/nobody", "libvirt-not-running"), ("qemu:///nope", "libvirt-uri")):
        with lab.configured("state_dir = ", f'libvirt_uri = "{uri}"\nstate_dir = '):
            events = examined(lab, code=5)
        assert found(events).keys() == {name}
        assert probes(events)["domain/definition"] == ("not possible", "libvirt was not reached")
        assert probes(events)["guest/ssh"][0] == "not possible"
    other = make_lab(as_user=True)
    home = f"HOME={other.world.user_home}"
    other.prefix = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "env", home)
    assert "libvirt-permission" in found(examined(other, code=5))


def test_when_everything_hangs(lab: Lab) -> None:
    """Libvirt, Nix and the guest: each is named, within 6 s of patience in all."""
    qemu = int(Path(f"/run/libvirt/qemu/{lab.name}.pid").read_text())
    with stopped(qemu):
        events = examined(lab, code=6)
    assert found(events).keys() == {"guest-unreached"}
    assert probes(events)["guest/mounts"] == ("not possible", "the guest was not reached")
    with stopped(pid_of("libvirtd"), pid_of("nix-daemon"), qemu):
        began = time.monotonic()
        done = lab.run("env", "NIX_REMOTE=daemon", "nixvm-loop", "doctor", "-o", "json")
        seconds = time.monotonic() - began
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert found(events).keys() == {"nix-hangs", "libvirt-hangs"}
    assert seconds < 8, "6 s on a machine that has nothing else to do"
    assert ids(lab) == set()


def test_a_paused_domain(lab: Lab) -> None:
    """Found, and let go on by --fix."""
    lab.virsh("suspend", lab.name)
    assert ids(lab, "--fix", "--yes") == {"paused"}
    assert lab.domain_state() == "running"
    assert ids(lab) == set()


def test_the_way_into_the_guest(lab: Lab) -> None:
    """A key that it does not know, one that is not there, and another host key."""
    key, known = lab.folder / "other-key", lab.state / "ssh/known_hosts"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    for path, name in ((key, "ssh-key-refused"), (lab.folder / "no-key", "ssh-key-unusable")):
        table = f'[guests.{lab.name}.ssh]\nkey = "{path}"\n\n[guests.{lab.name}.apply]'
        with lab.configured(f"[guests.{lab.name}.apply]", table):
            assert ids(lab, code=6) == {name}
    before = known.read_text()
    other = " ".join(key.with_suffix(".pub").read_text().split()[:2])
    known.write_text(re.sub(r"ssh-ed25519 \S+", other, before))
    assert ids(lab, code=6) == {"host-key-changed"}
    known.write_text(before)
    assert ids(lab) == set()


def test_mounts_that_are_not_what_the_config_says(lab: Lab) -> None:
    """Another place for share and layer, and a share that is mounted writable."""
    places = '[guests.{}.store]\nro_store = "/nix/.other"\nrw_store = "/run"\n\n[guests.{}.apply]'
    with lab.configured(f"[guests.{lab.name}.apply]", places.format(lab.name, lab.name)):
        assert {"store-share", "store-overlay"} <= ids(lab, code=7)
    lab.guest("mount -o remount,rw /nix/.ro-store")
    assert ids(lab, code=7) == {"store-share-readonly"}
    lab.guest("mount -o remount,ro /nix/.ro-store")
    assert ids(lab) == set()


def test_a_layer_that_fills_up(lab: Lab) -> None:
    """Nearly full is a warning with the figures; read-only is an error. Both are gone with what made them."""
    room_kib = int(lab.guest("df -k /nix/.rw-store | tail -1 | awk '{print $4}'"))
    lab.guest(f"dd if=/dev/zero of=/nix/.rw-store/upper/fill bs=1024 count={room_kib * 9 // 10} 2>/dev/null")
    warned = found(examined(lab))
    assert warned.keys() == {"rw-store-space"}
    assert warned["rw-store-space"]["evidence"].startswith("90% of ")
    assert re.search(r"; largest: [0-9.]+ MiB fill", warned["rw-store-space"]["evidence"])
    lab.loop("verify")
    status = lab.loop("status").stdout
    assert "nearly full: nixvm-loop doctor names what fills it" in status
    assert re.search(r"store layer +2\d\d\.\d MiB of ", status)
    lab.guest("rm /nix/.rw-store/upper/fill; mount -o remount,ro /nix/.rw-store")
    assert ids(lab, code=7) == {"store-write"}
    lab.guest("mount -o remount,rw /nix/.rw-store")
    assert ids(lab) == set()


def test_a_layer_that_fills_up_in_a_cycle(lab: Lab) -> None:
    """A live switch that runs out of room says so and where to look, as does what doctor finds in its log."""
    fill = "dd if=/dev/zero of=/nix/.rw-store/upper/fill bs=1048576 count=9999"
    with (
        lab.configured('stop = "force"', 'stop = "force"\nmode = "switch"'),
        lab.edited("configuration.nix", 'activation = "";', f"activation = ''[ ! -e /run/nixos/booted ] || {fill}'';"),
    ):
        said = lab.fails(7)
        assert "No space left on device" in said
        assert "names what fills the writable layer" in said
        assert ids(lab, code=7) >= {"layer-full", "rw-store-space"}
    lab.guest("rm /nix/.rw-store/upper/fill")
    lab.cycle()
    assert ids(lab) == set()


def test_a_definition_that_will_not_start(lab: Lab) -> None:
    """All that libvirt and QEMU would refuse is found before they do; rebuild writes it anew."""
    GONE_QEMU.symlink_to("/usr/bin/qemu-system-x86_64")
    defined(
        lab,
        (SOURCE, f"<binary path='/nonexistent'/>{SOURCE}"),
        ("<memoryBacking>.*?</memoryBacking>", ""),
        ("<target dir=", "<readonly/><target dir="),
        ("queue='1024'", "queue='2048'"),
        ("<on_reboot>destroy", "<on_reboot>restart"),
        ("init=/nix", "init=/a init=/nix"),
        ("kernel-current", "kernel-old"),
        ("/usr/bin/qemu-system-x86_64", str(GONE_QEMU)),
        ("</devices>", "<interface type='network'><source network='nowhere'/></interface></devices>"),
    )
    GONE_QEMU.unlink()
    assert ids(lab, code=5) == {
        "no-virtiofsd", "no-shared-memory", "readonly-share", "queue-too-large", "on-reboot", "not-one-init",
        "no-boot-file", "emulator-missing", "no-network",
    }  # fmt: skip
    lab.cycle()
    assert ids(lab) == set()


def test_a_definition_that_will_not_do(lab: Lab) -> None:
    """Another program for virtiofsd, a small queue, closed and unrooted files, an idle network: found, and cured."""
    closed = lab.folder / "closed"
    closed.mkdir(mode=0o700)
    shutil.copy((lab.state / "initrd-current").resolve(), closed / "initrd")
    loose = lab.run("nix-store", "--add", str(closed / "initrd")).stdout.strip()
    network = "<network><name>idle</name><forward mode='bridge'/><bridge name='nobridge'/></network>"
    lab.write(lab.folder / "net.xml", network)
    lab.virsh("net-define", str(lab.folder / "net.xml"))
    defined(
        lab,
        (SOURCE, f"<binary path='/bin/false'/>{SOURCE}"),
        (" queue='1024'", ""),
        (f"{lab.state}/initrd-current", str(closed / "initrd")),
        (f"{lab.state}/kernel-current", loose),
        ("</devices>", "<interface type='network'><source network='idle'/></interface></devices>"),
    )
    wanted = {
        "virtiofsd-failed", "queue-small", "boot-file-forbidden", "other-generation", "unrooted-path",
        "network-inactive",
    }  # fmt: skip
    assert ids(lab, "--fix", "--yes", code=5) == wanted
    assert lab.virsh("net-info", "idle").split("Active:")[1].split()[0] == "yes"
    root = str(lab.folder / "root")
    assert lab.run("nix-store", "--realise", "--add-root", root, "--indirect", loose).returncode == 0
    closed.chmod(0o755)
    assert ids(lab, code=5) == wanted - {"network-inactive", "unrooted-path", "boot-file-forbidden"}
    lab.cycle()
    assert ids(lab) == set()
    kernel = (lab.state / "kernel-current").resolve()
    shutil.chown(kernel, "libvirt-qemu")
    assert ids(lab) == {"store-chowned"}
    shutil.chown(kernel, "root")
    assert ids(lab) == set()
    lab.virsh("net-destroy", "idle")
    lab.virsh("net-undefine", "idle")


def test_a_domain_of_somebody_elses(lab: Lab) -> None:
    """Without our mark, without a kernel, with another tag; and one that is not there at all."""
    before = Path(f"/etc/libvirt/qemu/{lab.name}.xml").read_text()
    lab.write(lab.folder / "before.xml", lab.virsh("dumpxml", "--inactive", lab.name))
    defined(
        lab,
        ("nix-store-share", "other-share"),
        ("<metadata>.*?</metadata>", ""),
        ("<kernel>.*?</cmdline>", ""),
    )
    assert ids(lab, code=5) == {"foreign-domain", "no-direct-boot", "no-share"}
    lab.virsh("define", str(lab.folder / "before.xml"))
    assert "<kernel>" in before
    assert ids(lab) == set()
    with lab.configured("state_dir = ", 'domain = "nobody"\nstate_dir = '):
        assert "no-domain" in ids(lab, code=5)


def test_a_share_that_died(lab: Lab) -> None:
    """Killed under the guest: found without the guest's word, and cured by a restart."""
    number = lab.virsh("domid", lab.name)
    pid = int(Path(f"/run/libvirt/qemu/{number}-{lab.name}-fs0-fs.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    done = lab.loop("doctor", "-o", "json")
    events = found([json.loads(line) for line in done.stdout.splitlines()])
    assert done.returncode == 5
    assert str(pid) in events["virtiofsd-gone"]["evidence"]
    lab.cycle("--force")
    assert ids(lab) == set()


def test_a_guest_that_is_off(lab: Lab) -> None:
    """A port that is taken, more memory than there is, and a KVM that does not work, before it is started."""
    lab.virsh("destroy", lab.name)
    assert ids(lab) == set()
    if not Path("/dev/kvm").exists():
        subprocess.run(["mknod", "/dev/kvm", "c", "10", "232"], check=True)
    try:
        with (
            socket.create_server(("127.0.0.1", lab.port)),
            lab.configured('memory = "512MiB"', 'memory = "900GiB"\naccelerator = "kvm"'),
        ):
            events = examined(lab, code=5)
    finally:
        Path("/dev/kvm").unlink()
    if not re.search(r"\b(vmx|svm)\b", Path("/proc/cpuinfo").read_text()):
        assert found(events)["no-kvm"]["evidence"] == "the processor has neither vmx nor svm"
    assert found(events).keys() == {"host-memory", "no-kvm", "port-in-use"}
    lab.cycle()
    assert ids(lab) == set()


def test_a_guest_that_runs_something_else(lab: Lab) -> None:
    """An older system that somebody booted in the domain is found in the guest and in the definition."""
    older = lab.toplevel()
    with lab.edited("configuration.nix", "Hello from the mini guest.", "The newer one."):
        lab.cycle()
        good = lab.virsh("dumpxml", "--inactive", lab.name)
        lab.write(lab.folder / "theirs.xml", good.replace(lab.toplevel(), older))
        lab.virsh("define", str(lab.folder / "theirs.xml"))
        lab.virsh("destroy", lab.name)
        lab.virsh("start", lab.name)
        until_it_answers(lab)
        table = f'[guests.{lab.name}.ssh]\nhost_key = "off"\n\n[guests.{lab.name}.apply]'
        with lab.configured(f"[guests.{lab.name}.apply]", table):  # it has made a key that nobody heard of
            assert ids(lab, code=7) == {"system", "cmdline", "other-generation"}
        assert lab.cycle()["verdict"] == "ok"
        assert ids(lab) == set()


def test_a_guest_whose_nix_knows_nothing(lab: Lab) -> None:
    """A Nix in the guest in whose database the running system is not registered."""
    ignorant = PROGRAM.replace("echo one", "exit 1").replace("bin/one", "bin/nix-store")
    with lab.edited(
        "configuration.nix", "packages = {", f"packages = {{ ignorant = ''mkdir -p $out/bin; {ignorant}'';"
    ):
        lab.cycle()
        assert ids(lab) == {"nix-database"}
    lab.cycle()
    assert ids(lab) == set()


def test_the_last_cycle_failed(lab: Lab) -> None:
    """What its logs mean is found, with the line, under the cycle's own exit code; a good cycle ends that."""
    with lab.edited("configuration.nix", "{", "{ ]"):
        lab.fails(3)
        events = examined(lab, code=3)
    assert found(events).keys() == {"cycle-failed"}
    assert "syntax error" in found(events)["cycle-failed"]["evidence"]
    lab.write(lab.flake / "new.nix", "{ }")
    with lab.edited("configuration.nix", "{", "let new = import ./new.nix; in builtins.seq new {"):
        lab.fails(3)
        assert ids(lab, code=3) == {"untracked-file"}
    (lab.flake / "new.nix").unlink()
    lab.cycle()
    assert ids(lab) == set()


def test_a_reboot_from_within(lab: Lab) -> None:
    """In a domain of the user's own, with libvirt's default for reboots: found, and cured by a restart."""
    before = (lab.folder / "nixvm-loop.toml").read_text()
    own = re.sub(r"(?s)\[guests\.\w+\.machine\].*", "", before)
    lab.configure(f'{own}\n[guests.{lab.name}.ssh]\nhost_key = "off"\n')
    xml = lab.virsh("dumpxml", "--inactive", lab.name)
    lab.write(lab.folder / "own.xml", xml.replace("<on_reboot>destroy", "<on_reboot>restart"))
    lab.virsh("define", str(lab.folder / "own.xml"))
    lab.cycle("--force")
    assert ids(lab) == {"on-reboot"}
    boot = lab.boot_id()
    lab.run(*lab.ssh("reboot"))
    deadline = time.monotonic() + 60
    while lab.run(*lab.ssh(f"! grep -q {boot} /proc/sys/kernel/random/boot_id")).returncode:
        assert time.monotonic() < deadline
        time.sleep(0.3)
    assert ids(lab) == {"on-reboot", "rebooted-inside"}
    lab.cycle("--force")
    assert ids(lab) == {"on-reboot"}
    lab.configure(before)
    lab.cycle()
    assert ids(lab) == set()
