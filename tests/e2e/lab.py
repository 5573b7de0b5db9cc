"""One user's desk in a world: a flake, a config, and ways to ask the guest, libvirt and the disk for the truth."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.e2e.world import World

CYCLE_TIMEOUT_S = 90


@dataclass
class Watch:
    """A running `nixvm-loop watch -o json`, read while it goes."""

    process: subprocess.Popen[str]
    events: list[dict[str, Any]] = field(default_factory=list)

    def wait_for(self, wanted: Callable[[dict[str, Any]], bool], timeout_s: float = CYCLE_TIMEOUT_S) -> dict[str, Any]:
        """Read on until an event comes that is wanted."""
        deadline = time.monotonic() + timeout_s
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event: dict[str, Any] = json.loads(line)
            self.events.append(event)
            if wanted(event):
                return event
            assert time.monotonic() < deadline, f"not in time; last: {self.events[-5:]}"
        raise AssertionError(f"watch ended with {self.process.wait()}; last: {self.events[-5:]}")

    def finished(self, verdict: str | None = None) -> dict[str, Any]:
        """The end of the next cycle (with the verdict, if one is given)."""
        return self.wait_for(lambda event: event["type"] == "cycle_finished" and verdict in {None, event["verdict"]})


@dataclass
class Lab:
    """A flake, a config, and a guest that may come of them."""

    world: World
    folder: Path
    prefix: tuple[str, ...]
    state: Path
    name: str
    port: int
    key: Path | None = None

    @property
    def flake(self) -> Path:
        """The checkout that is edited."""
        return self.folder / "guest"

    def loop(self, *arguments: str, timeout_s: float = CYCLE_TIMEOUT_S) -> subprocess.CompletedProcess[str]:
        """Run nixvm-loop to its end."""
        return self.run("nixvm-loop", *arguments, timeout_s=timeout_s)

    def run(self, *argv: str, timeout_s: float = CYCLE_TIMEOUT_S) -> subprocess.CompletedProcess[str]:
        """Run a program as the lab's user, in its folder."""
        return subprocess.run(
            [*self.prefix, *argv], cwd=self.folder, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def cycle(self, *arguments: str) -> dict[str, Any]:
        """`rebuild` with these arguments has to succeed; the event that ended it."""
        done = self.loop("rebuild", "-o", "json", *arguments)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr
        ended: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return ended

    def fails(self, code: int, *arguments: str, command: str = "rebuild", env: tuple[str, ...] = ()) -> str:
        """A command has to end with this exit code and one error; what the user reads, both streams."""
        done = self.run("env", *env, "nixvm-loop", command, *arguments)
        said = done.stdout + done.stderr
        assert done.returncode == code, f"{done.returncode}, not {code}: {said}"
        assert "Traceback" not in said, said
        assert done.stderr.count("nixvm-loop: error: ") == 1, said
        return said

    @contextmanager
    def changed(self, path: Path, old: str, new: str) -> Iterator[None]:
        """A file (of the lab's folder) with `old` replaced by `new`, as long as the block runs."""
        before = (self.folder / path).read_text()
        assert old in before, f"{old!r} is not in {path}"
        self.write(self.folder / path, before.replace(old, new))
        try:
            yield
        finally:
            self.write(self.folder / path, before)

    def configured(self, old: str, new: str) -> AbstractContextManager[None]:
        """The config with `old` replaced by `new`, as long as the block runs."""
        return self.changed(self.folder / "nixvm-loop.toml", old, new)

    def edited(self, name: str, old: str, new: str) -> AbstractContextManager[None]:
        """A file of the flake with `old` replaced by `new`, as long as the block runs."""
        return self.changed(self.flake / name, old, new)

    @contextmanager
    def watch(self, *arguments: str) -> Iterator[Watch]:
        """`watch` while the block runs; it must end by Ctrl-C, with 130."""
        process = subprocess.Popen(
            [*self.prefix, "nixvm-loop", "watch", "-o", "json", *arguments],
            cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            yield Watch(process)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
            assert process.returncode == 130, errors
        finally:
            process.kill()
            process.communicate()

    def configure(self, text: str) -> None:
        """Replace the config."""
        self.write(self.folder / "nixvm-loop.toml", text)

    def edit(self, name: str, old: str, new: str) -> None:
        """Change a file of the flake as an editor does: beside it, then renamed."""
        path = self.flake / name
        text = path.read_text()
        assert old in text, f"{old!r} is not in {name}"
        self.write(path, text.replace(old, new))

    def write(self, path: Path, text: str) -> None:
        """Write a file as the lab's user."""
        script = 'cat >"$1.new" && mv "$1.new" "$1"'
        subprocess.run([*self.prefix, "sh", "-c", script, "sh", str(path)], input=text, text=True, check=True)

    def guest(self, command: str) -> str:
        """What the guest itself says, asked by OpenSSH with the guest's key and nothing of nixvm-loop's code."""
        done = self.run(*self.ssh(command))
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def ssh(self, command: str) -> tuple[str, ...]:
        """The command line that asks the guest by OpenSSH."""
        return (
            "ssh", "-F", "none", "-i", str(self.key or self.state / "ssh/id_ed25519"), "-p", str(self.port),
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
            "-o", "ConnectTimeout=10", "root@127.0.0.1", command,
        )  # fmt: skip

    def boot_id(self) -> str:
        """Which boot the guest says it is in."""
        return self.guest("cat /proc/sys/kernel/random/boot_id")

    def booted(self) -> str:
        """Which system the guest says it booted."""
        return self.guest("readlink -f /run/booted-system")

    def virsh(self, *arguments: str) -> str:
        """What libvirt says."""
        done = self.run("virsh", "-c", "qemu:///system", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def toplevel(self) -> str:
        """What Nix itself says the system of the flake as it stands is."""
        attribute = f"{self.flake}#nixosConfigurations.demo.config.system.build.toplevel"
        done = self.run("nix", "eval", "--raw", f"{attribute}.outPath")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def domain_state(self) -> str:
        """What libvirt says of the domain."""
        return self.virsh("domstate", self.name).strip()

    def strays(self, patience_s: float = 3.0) -> list[str]:
        """What should not be there when nothing is under way; it may take `patience_s` to go."""
        deadline = time.monotonic() + patience_s
        while (found := self._strays()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    def _strays(self) -> list[str]:
        processes = [line.split(maxsplit=2) for line in _ps().splitlines() if "<defunct>" not in line]
        found = [line for pid, command, line in processes if command in {"nix", "nix-store"} or _is_built(pid)]
        # One process of nix-daemon listens; the others each serve a client.
        found += [line for _, command, line in processes if command == "nix-daemon"][1:]
        found += [f"paused: {name}" for name in self.virsh("list", "--state-paused", "--name").split()]
        machines = [line for _, command, line in processes if command.startswith("qemu-system")]
        running = self.virsh("list", "--name").split()
        found += [line for line in machines if not any(f"guest={name}," in line for name in running)]
        shares = [line for _, command, line in processes if command == "virtiofsd"]
        return found + shares[2 * len(running) :]

    def remove(self) -> None:
        """Leave nothing in libvirt."""
        for action in ("destroy", "undefine"):
            self.run("virsh", "-c", "qemu:///system", action, self.name)


def _is_built(pid: str) -> bool:
    """Whether a process runs a program of the store: on these hosts, builders alone do."""
    with suppress(OSError):
        return str(Path(f"/proc/{pid}/exe").readlink()).startswith("/nix/store/")
    return False


def _ps() -> str:
    return subprocess.run(["ps", "axww", "-o", "pid=,comm=,args="], capture_output=True, text=True, check=True).stdout


def free_port() -> int:
    """A TCP port that nobody on 127.0.0.1 has just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
