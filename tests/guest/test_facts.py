from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from nixvm_loop.errors import GuestError
from nixvm_loop.guest import FactsRequest
from nixvm_loop.guest.facts import facts_from, is_whole, units_from
from nixvm_loop.guest.script import Reader
from nixvm_loop.model.facts import GuestFacts, ProbeResult, Space, WriteProbe
from nixvm_loop.model.settings import StoreSettings

ANSWER = (Path(__file__).parent / "answers" / "mini-guest.txt").read_text(encoding="utf-8")
RECORDED = FactsRequest(StoreSettings(), ("/nix/store/x", "/nix/store/y"), nonce="recorded")
SHELLS = [shell for shell in ("dash", "bash", "busybox sh", "zsh", "ksh") if shutil.which(shell.split()[0])]


def ask(request: FactsRequest, shell: str, reader: Reader = Reader.LOGIN_SHELL, path: str | None = None) -> GuestFacts:
    """What this machine answers, asked through a shell."""
    env = {**os.environ, **({} if path is None else {"PATH": path})}
    program, *rest = shell.split()
    argv = [str(shutil.which(program)), *rest, "-c", request.script.command(reader)]
    done = subprocess.run(argv, input=request.script.stdin, capture_output=True, check=True, env=env)
    return facts_from(done.stdout.decode(), request)


def here(folder: Path, *names: str) -> FactsRequest:
    """A request about a folder of this machine."""
    store = StoreSettings(mount_point=str(folder), ro_store="/proc", rw_store=str(folder))
    return FactsRequest(store, tuple(str(folder / name) for name in names))


def altered(*changes: tuple[str, str]) -> GuestFacts:
    """The facts of the recorded answer with some of its text replaced."""
    answer = ANSWER
    for old, new in changes:
        assert old in answer
        answer = answer.replace(old, new)
    return facts_from(answer, RECORDED)


def test_a_real_guests_answer_is_read() -> None:
    """Every fact is in the answer that was recorded from the mini guest."""
    facts = facts_from(ANSWER, RECORDED)
    system = "/nix/store/hqqxjpb9xxkfx9rpgck8q7zfb7x25xcq-nixos-system-demo-1"
    assert (facts.booted_system, facts.current_system) == (system, system)
    assert facts.boot_id == "722c87a7-d540-427e-b845-8cab6ca630a0"
    assert facts.uptime_s == 6.21
    assert facts.cmdline == f"init={system}/init console=ttyS0 panic=-1 quiet init_on_alloc=0 cryptomgr.notests"
    assert facts.kernel_release == "6.1.0-56-cloud-amd64"
    assert facts.share is not None
    assert (facts.share.fs_type, facts.share.source) == ("virtiofs", "nix-store-share")
    assert facts.store is not None
    assert facts.store.lower_layers == ("/nix/.ro-store",)
    assert facts.rw_store == Space(0, 60051 * 4096, 4, 60051)
    assert facts.store_write == WriteProbe(ProbeResult.WRITTEN)
    assert facts.paths_checked == 2
    assert facts.missing_paths == ("/nix/store/00000000000000000000000000000000-nowhere",)
    assert (facts.system_state, facts.failed_units, facts.lacks) == (None, (), ())
    assert not facts.starting


@pytest.mark.parametrize(
    ("by", "table", "listens"),
    [
        ("10.0.2.2 53 10.0.2.15 22", "00000000:0016\ntold /proc/net/tcp\n", True),
        ("10.0.2.2 53 10.0.2.15 22", "told /proc/net/tcp\n00000000000000000000000000000000:0016\ntold x\n", True),
        ("10.0.2.2 53 10.0.2.15 8022", "00000000:0016\ntold /proc/net/tcp\n", False),
        ("10.0.2.2 53 10.0.2.15 22", "told /proc/net/tcp\n", False),
        ("10.0.2.2 53 10.0.2.15 22", "", None),
        ("UNKNOWN 65535 UNKNOWN 65535", "told /proc/net/tcp\n", None),
        ("", "told /proc/net/tcp\n", None),
        ("10.0.2.2 53 10.0.2.15 ssh", "told /proc/net/tcp\n", None),
    ],
)
def test_whether_anybody_else_could_come(by: str, table: str, listens: bool | None) -> None:  # noqa: FBT001  # the fact
    """By the port that sshd says we came by; nothing is concluded where it, or the kernel, does not say."""
    section = f"@recorded listens\nby {by}\n{table}\n@recorded missing"
    assert altered(("@recorded missing", section)).listens is listens


@pytest.mark.parametrize("shell", SHELLS)
def test_who_listens_here(tmp_path: Path, shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each shell finds a port of this machine that is listened on, by either protocol, and another one that is not."""
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.create_server((address, 0), family=family) as server:
            port = server.getsockname()[1]
            monkeypatch.setenv("SSH_CONNECTION", f"127.0.0.1 1 127.0.0.1 {port}")
            assert ask(here(tmp_path), shell).listens is True
        assert ask(here(tmp_path), shell).listens is False


def test_what_else_is_printed_does_no_harm() -> None:
    """Greetings of a login shell, and another request's answer, are not taken for facts."""
    other = ANSWER.replace("@recorded", "@other").replace("demo-1", "evil-1")
    assert facts_from(f"Welcome!\n@recorded\n{other}{ANSWER}", RECORDED) == facts_from(ANSWER, RECORDED)


def test_half_an_answer_is_an_error() -> None:
    """Facts are only made of an answer that came to its end; the error shows the last that was heard."""
    half = ANSWER[: ANSWER.index("@recorded probes")]
    assert not is_whole(half, RECORDED)
    with pytest.raises(GuestError, match="broke off") as caught:
        facts_from(half, RECORDED, complaints="sh: out of memory\n")
    assert caught.value.details[-1] == "sh: out of memory"


def test_empty_sections_are_unknown_facts() -> None:
    """Nothing is invented for what the guest did not tell."""
    names = (
        "boot-id",
        "uptime",
        "cmdline",
        "release",
        "nix",
        "booted",
        "current",
        "mounts",
        "missing",
        "probes",
        "units",
        "end",
    )
    assert facts_from("".join(f"\n@recorded {name}\n" for name in names), RECORDED) == GuestFacts()


@pytest.mark.parametrize("text", ["looked-for", "looked-for x", "", "sh: cd: not found"])
def test_a_look_that_was_not_finished_counts_nothing(text: str) -> None:
    """Without the count at its end the list of missing paths says nothing."""
    facts = altered(("looked-for 2", text))
    assert (facts.paths_checked, facts.missing_paths) == (None, ())


@pytest.mark.parametrize(
    ("said", "probe"),
    [
        ("write 3 mount: permission denied", WriteProbe(ProbeResult.REFUSED, "mount: permission denied")),
        (
            "write 4 sh: cannot create:\nNo space left",
            WriteProbe(ProbeResult.REFUSED, "sh: cannot create: No space left"),
        ),
        ("write 5", WriteProbe(ProbeResult.REFUSED)),
        ("write 1 unshare: not permitted", WriteProbe(ProbeResult.NO_MEANS, "unshare: not permitted")),
        ("write 127 unshare: not found", WriteProbe(ProbeResult.NO_MEANS, "unshare: not found")),
        ("write", None),
        ("", None),
    ],
)
def test_the_write_probe_is_read(said: str, probe: WriteProbe | None) -> None:
    """Its exit status tells refused from impossible."""
    facts = altered(("write 0 ", said))
    assert facts.store_write == probe
    assert facts.lacks == (("unshare or mount",) if "127" in said else ())


def test_a_guest_without_stat_lacks_it() -> None:
    """That is not the same as a layer that is not there."""
    space = "space 4096 60051 60051 60051 60051 60047"
    assert altered((space, "space failed 127")).lacks == ("stat",)
    assert altered((space, "space failed 1")).lacks == ()
    assert altered((space, "space failed 1")).rw_store is None


def test_units_are_read() -> None:
    """State first, then a unit a line."""
    section = "@recorded units\n"
    degraded = altered((section, f"{section}state degraded\na.service loaded failed failed A\nb.mount x\n"))
    assert (degraded.system_state, degraded.failed_units, degraded.starting) == (
        "degraded",
        ("a.service", "b.mount"),
        False,
    )
    assert altered((section, f"{section}state starting\n")).starting
    assert altered((section, f"{section}state \n")).system_state == "unknown"
    assert units_from("running\n") == ("running", ())
    assert units_from("degraded\na.service loaded failed\n") == ("degraded", ("a.service",))
    assert units_from("") == (None, ())


@pytest.mark.parametrize("reader", Reader)
@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_answers(tmp_path: Path, shell: str, reader: Reader) -> None:
    """The script runs to its end in each shell of this machine and says what is true here."""
    folder = tmp_path / "it's a store $HOME"
    folder.mkdir()
    (folder / "a").touch()
    (folder / "dangling").symlink_to("/nowhere")
    facts = ask(here(folder, "a", "dangling", "b?", "-x"), shell, reader)
    assert facts.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert facts.cmdline == Path("/proc/cmdline").read_text().strip()
    assert facts.kernel_release == os.uname().release
    assert facts.uptime_s is not None
    assert facts.share is not None
    assert facts.share.fs_type == "proc"
    assert facts.store is None
    assert facts.rw_store is not None
    assert 0 < facts.rw_store.used_bytes < facts.rw_store.size_bytes
    assert (facts.paths_checked, facts.missing_paths) == (4, (f"{folder}/b?", f"{folder}/-x"))
    assert facts.store_write is not None
    assert facts.store_write.result is not ProbeResult.WRITTEN
    assert sorted(path.name for path in folder.iterdir()) == ["a", "dangling"]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_long_list_comes_by_standard_input(tmp_path: Path, shell: str) -> None:
    """A closure of thousands fits, and the command line stays below what dropbear takes."""
    (tmp_path / "b?d").touch()
    names = [f"{number:032}-a-package-with-a-name" for number in range(2000)]
    request = here(tmp_path, "b?d", *names)
    assert len(request.script.command(Reader.LOGIN_SHELL)) < 9000
    facts = ask(request, shell)
    assert facts.paths_checked == 2001
    assert len(facts.missing_paths) == 2000


@pytest.mark.parametrize("shell", SHELLS)
def test_a_guest_without_programs_still_answers(tmp_path: Path, shell: str) -> None:
    """What the shell knows by itself is told; the rest is lacking, not wrong."""
    request = here(tmp_path)
    command = request.script.command(Reader.LOGIN_SHELL).replace(
        "/run/current-system/sw/bin:/run/wrappers/bin:/usr/sbin:/usr/bin:/sbin:/bin", "/nowhere"
    )
    program, *rest = shell.split()
    argv = [str(shutil.which(program)), *rest, "-c", command]
    done = subprocess.run(argv, input=b"", capture_output=True, check=True, env={"PATH": "/nowhere"})
    facts = facts_from(done.stdout.decode(), request)
    assert facts.boot_id is not None
    assert facts.share is not None
    if not shell.startswith("busybox"):
        assert facts.lacks == ("stat", "unshare or mount")
        assert facts.rw_store is None


def test_a_store_that_cannot_be_entered_is_not_told(tmp_path: Path) -> None:
    """No count stands for a folder that is not there."""
    facts = ask(here(tmp_path / "gone", "a"), "dash")
    assert facts.paths_checked is None


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts are root's")
def test_the_probe_writes_to_a_read_only_mount_and_leaves_no_trace(tmp_path: Path) -> None:
    """As in a running NixOS: read-only for all, writable in the probe's own copy of the mounts, and read-only after."""
    script = f"mount -t tmpfs none {tmp_path} && mount -o remount,ro,bind {tmp_path} && exec sh"
    request = here(tmp_path)
    after = f"touch {tmp_path}/x 2>/dev/null || echo refused; ls -A {tmp_path} | wc -l"
    text = f"{request.script.command(Reader.LOGIN_SHELL)}\n{after}\n"
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], input=text.encode(), capture_output=True, check=True)
    output = done.stdout.decode()
    facts = facts_from(output, request)
    assert facts.store_write == WriteProbe(ProbeResult.WRITTEN)
    assert facts.store is not None
    assert facts.store.read_only
    assert output.split()[-2:] == ["refused", "0"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts are root's")
def test_the_probe_finds_a_full_layer(tmp_path: Path) -> None:
    """No inode is left: the attempt is refused and says why."""
    script = f"mount -t tmpfs -o nr_inodes=1 none {tmp_path} && exec sh"
    request = here(tmp_path)
    text = request.script.command(Reader.LOGIN_SHELL).encode()
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], input=text, capture_output=True, check=True)
    facts = facts_from(done.stdout.decode(), request)
    assert facts.store_write is not None
    assert facts.store_write.result is ProbeResult.REFUSED
    assert facts.store_write.message
