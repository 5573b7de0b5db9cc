"""Records what programs say when they refuse, for the tests of signatures: Nix, and virtiofsd.

    scripts/world run -- .venv/bin/python tests/recorders/refusals.py

The texts land in tests/fixtures/refusals/PROGRAM/ID.log, under the id of the signature that they are for, with the
folder that they were made in written as /tree.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

FIXTURES = Path(__file__).parents[1] / "fixtures" / "refusals"
VIRTIOFSD = "/usr/lib/qemu/virtiofsd"
ATTRIBUTE = "x"
FLAKE = "{{ outputs = _: {{ x = {}; }}; }}\n"
DERIVATION = 'derivation {{ name = "x"; system = "{}"; builder = "/bin/sh"; args = [ "-c" "{}" ]; {} }}'
HASH = 'outputHashMode = "flat"; outputHashAlgo = "sha256"; outputHash = "' + 64 * "0" + '";'
HERE = f"{os.uname().machine}-linux"

# What is evaluated or built, and what else is done to Nix, by the id that it is for.
FLAKES = {
    "hash-mismatch": DERIVATION.format(HERE, "echo hi > $out", HASH),
    "build-memory": DERIVATION.format(HERE, "kill -9 $$", ""),
    "download-failed": 'builtins.fetchTarball { url = "http://127.0.0.1:1/x.tar"; sha256 = "' + 52 * "0" + '"; }',
    "impure": 'builtins.readFile "/etc/hostname"',
    "other-system": DERIVATION.format("riscv64-linux", "echo hi > $out", ""),
    "endless-recursion": "let a = a; in a",
    "success": DERIVATION.format(HERE, "echo hi > $out", ""),
}
AS_NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "env", "HOME=/tmp")


def nix(tree: Path, *arguments: str, before: tuple[str, ...] = (), flake: str | None = None) -> str:
    """What `nix build` says of the flake in `tree`."""
    command = ("nix", "build", "--no-link", *arguments, flake or f"{tree}#{ATTRIBUTE}")
    return said(tree, *before, *command)


def said(tree: Path, *command: str, timeout_s: float = 60) -> str:
    """What a program says on standard error, the folder's name aside."""
    done = subprocess.run(
        command, cwd=tree, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False
    )
    return done.stderr.replace(str(tree), "/tree")


def of_nix(tree: Path) -> dict[str, str]:
    """Every refusal of Nix's."""
    texts = {}
    for name, expression in FLAKES.items():
        (tree / "flake.nix").write_text(FLAKE.format(expression))
        texts[name] = nix(tree)
    (tree / "flake.nix").write_text(FLAKE.format(FLAKES["success"]))
    no_daemon = ("env", "NIX_REMOTE=daemon", "NIX_DAEMON_SOCKET_PATH=/nonexistent")
    texts["nix-daemon"] = nix(tree, before=no_daemon)
    texts["nix-feature"] = nix(tree, before=("env", "NIX_CONFIG=experimental-features = nix-command"))
    texts["store-forbidden"] = nix(tree, before=(*AS_NOBODY, "NIX_REMOTE=local"))
    texts["disk-full"] = on_a_full_disk(tree)
    empty = tree / "empty"
    empty.mkdir()
    texts["no-flake"] = nix(tree, flake=f"{empty}#x")
    spaces = tree / "with space"
    spaces.mkdir()
    texts["flake-url"] = nix(tree, flake=f"git+file://{spaces}#x")
    return texts | of_git(tree)


def on_a_full_disk(tree: Path) -> str:
    """A store on a disk that has no room."""
    small = tree / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", small], check=True)
    try:
        return nix(tree, "--store", str(small))
    finally:
        subprocess.run(["umount", small], check=True)


def of_git(tree: Path) -> dict[str, str]:
    """What depends on git: that it is there, and whose the repository is."""
    repository = tree / "repository"
    repository.mkdir()
    shutil.copy(tree / "flake.nix", repository)
    for command in (("init", "-q"), ("add", ".")):
        subprocess.run(["git", *command], cwd=repository, check=True)
    (tree / "bin").mkdir()
    (tree / "bin/nix").symlink_to(str(shutil.which("nix")))
    without = nix(tree, before=("env", f"PATH={tree}/bin"), flake=f"{repository}#x")
    subprocess.run(["chown", "-R", "nobody", repository], check=True)
    return {"no-git": without, "foreign-repository": nix(tree, flake=f"{repository}#x")}


def of_virtiofsd(tree: Path) -> dict[str, str]:
    """Every refusal of virtiofsd's, and what it says when all is well."""

    def run(*arguments: str, before: tuple[str, ...] = ()) -> str:
        path = tree / "socket"
        path.unlink(missing_ok=True)
        with (tree / "said").open("w+") as file:
            command = [*before, VIRTIOFSD, f"--socket-path={path}", *arguments]
            process = subprocess.Popen(command, stderr=file, stdout=file)
            meet(path)
            process.terminate()
            process.wait(timeout=10)
            file.seek(0)
            return file.read().replace(str(tree), "/tree")

    share = ("-o", "source=/nix/store")
    return {
        "virtiofsd-option": run(*share, "-o", "no_such_option"),
        "virtiofsd-source": run("-o", "source=/nonexistent"),
        "virtiofsd-sandbox": run(*share, before=("setpriv", "--bounding-set", "-sys_admin")),
        "success": run(*share),
    }


def meet(path: Path) -> None:
    """Come as QEMU does, for a moment."""
    deadline = time.monotonic() + 2
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    if path.exists():
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            time.sleep(0.5)


def main() -> None:
    """Provoke and write."""
    for program, record in (("nix", of_nix), ("virtiofsd", of_virtiofsd)):
        folder = FIXTURES / program
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as name:
            tree = Path(name)
            tree.chmod(0o755)
            for one, text in record(tree).items():
                (folder / f"{one}.log").write_text(text)
                print(f"{program}/{one}: {text.strip().splitlines()[-1] if text.strip() else 'nothing'}")


if __name__ == "__main__":
    main()
