"""`doctor` on a real host, config and domain, each broken for real: found by its id, and cured by its fix."""

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
from typing import TYPE_CHECKING

import pytest

from tests.e2e.examined import examined, found, ids, probes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.lab import Lab

SOURCE = r"(<source dir='[^']*'/>)"
GONE_QEMU = Path("/run/qemu-that-goes")


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Iterator[Lab]:
    """A verified guest of root's."""
    made = make_lab()
    assert made.loop("create", "--start").returncode == 0
    yield made
    made.remove()


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


def test_a_definition_that_will_not_start(lab: Lab) -> None:
    """All that libvirt and QEMU would refuse is found before they do; rebuild writes it anew."""
    GONE_QEMU.symlink_to("/usr/bin/qemu-system-x86_64")
    defined(
        lab,
        (SOURCE, r"<binary path='/nonexistent'/>\1"),
        ("<memoryBacking>.*?</memoryBacking>", ""),
        *([] if lab.world.readonly_enforced else [("<target dir=", "<readonly/><target dir=")]),
        ("queue='1024'", "queue='2048'"),
        ("<on_reboot>destroy", "<on_reboot>restart"),
        ("init=/nix", "init=/a init=/nix"),
        ("kernel-current", "kernel-old"),
        ("/usr/bin/qemu-system-x86_64", str(GONE_QEMU)),
        ("</devices>", "<interface type='network'><source network='nowhere'/></interface></devices>"),
    )
    GONE_QEMU.unlink()
    wanted = {
        "no-virtiofsd", "no-shared-memory", "queue-too-large", "on-reboot", "not-one-init", "no-boot-file",
        "emulator-missing", "no-network",
    }  # fmt: skip
    assert ids(lab, code=5) == wanted | (set() if lab.world.readonly_enforced else {"readonly-share"})
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
        (SOURCE, r"<binary path='/bin/false'/>\1"),
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
