"""Real shells that are asked what they would complete a line with."""

from __future__ import annotations

import os
import pty
import select
import shlex
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PATIENCE_S = 20.0

_BASH = """
source "$1"
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_shtab_nixvm_loop
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
# What is offered goes into a file; END says that no more will come.
_ZSH = """
PS1='ready> '
fpath=({functions} $fpath)
autoload -Uz compinit && compinit -u -D
compadd() {{
  local -a offered
  builtin compadd -O offered "$@"
  print -rl -- $offered >> {found}
  builtin compadd "$@"
}}
capture() {{ zle list-choices; print END >> {found} }}
zle -N capture
bindkey '^T' capture
"""


def in_bash(script: Path, line: str) -> set[str]:
    """What bash offers."""
    words = [*shlex.split(line), *([""] if line.endswith(" ") else [])]
    code = _BASH.format(words=" ".join(map(shlex.quote, words)))
    return _said(["bash", "--norc", "-c", code, "bash", str(script)])


def in_fish(script: Path, line: str) -> set[str]:
    """What fish offers."""
    code = f"source {shlex.quote(str(script))}; complete -C {shlex.quote(line)}"
    return {word.partition("\t")[0] for word in _said(["fish", "--no-config", "-c", code])}


def in_zsh(script: Path, line: str) -> set[str]:
    """What zsh offers, in a terminal of its own: it completes nowhere else."""
    functions, found = script.parent / "functions", script.with_suffix(".found")
    functions.mkdir(exist_ok=True)
    shutil.copy(script, functions / "_nixvm-loop")
    found.unlink(missing_ok=True)
    rc = script.parent / ".zshrc"
    rc.write_text(_ZSH.format(functions=shlex.quote(str(functions)), found=shlex.quote(str(found))))
    terminal, far_end = pty.openpty()
    shell = subprocess.Popen(
        ["zsh", "-i"],
        env={**os.environ, "ZDOTDIR": str(script.parent), "TERM": "dumb"},
        stdin=far_end, stdout=far_end, stderr=far_end, start_new_session=True,
    )  # fmt: skip
    os.close(far_end)
    try:
        _wait(terminal, lambda said: b"ready> " in said)
        os.write(terminal, line.encode() + b"\x14")
        _wait(terminal, lambda _: found.exists() and found.read_text().endswith("END\n"))
    finally:
        shell.kill()
        shell.wait()
        os.close(terminal)
    return {word for word in found.read_text().splitlines() if word not in {"", "END"}}


def _said(argv: list[str]) -> set[str]:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_PATIENCE_S, check=True)
    assert done.stderr == ""
    return {word for word in done.stdout.splitlines() if word}


def _wait(terminal: int, is_done: Callable[[bytes], bool]) -> None:
    said, deadline = b"", time.monotonic() + _PATIENCE_S
    while not is_done(said):
        assert time.monotonic() < deadline, said.decode(errors="replace")
        if select.select([terminal], [], [], 0.05)[0]:
            said += os.read(terminal, 65536)
