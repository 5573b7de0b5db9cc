"""Reads what a system's toplevel holds: the bootspec first, the links as NixOS lays them out where there is none."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final, NoReturn

from nixvm_loop.errors import BuildError
from nixvm_loop.model.values import Artifacts

_BOOTSPEC: Final = "org.nixos.bootspec.v1"
_FILES: Final = ("kernel", "initrd")
_SECRETS_HINT: Final = (
    "a domain that boots directly gets no secrets into its initrd: empty boot.initrd.secrets for this guest,"
    " and hand secrets in as systemd credentials"
)
_COPIES_A_SECRET: Final = re.compile(r"^\s*cp -a ", re.MULTILINE)
_WORD: Final = re.compile(r'(?:[^\s"]|"[^"]*")+')


def read_artifacts(toplevel: Path) -> Artifacts:
    """What the domain needs to boot a built system.

    Raises:
        BuildError: there is no kernel, initrd, init or kernel parameters, or the initrd lacks its secrets.
    """
    spec = _bootspec(toplevel)
    _refuse_secrets(toplevel, spec)
    if not (toplevel / "init").exists():
        _incomplete(toplevel, "init", "it is no NixOS system")
    params = tuple(spec["kernelParams"]) if spec else _kernel_params(toplevel)
    return Artifacts(
        toplevel=toplevel,
        kernel=_store_file(toplevel, "kernel", spec, "boot.kernel.enable must be true"),
        initrd=_store_file(toplevel, "initrd", spec, "boot.initrd.enable must be true"),
        kernel_params=tuple(word for word in params if not word.startswith("init=")),
        label=str(spec.get("label") or _text(toplevel / "nixos-version") or toplevel.name),
    )


def _bootspec(toplevel: Path) -> dict[str, Any]:
    file = toplevel / "boot.json"
    text = _text(file)
    if text is None:
        return {}
    try:
        return _checked(json.loads(text).get(_BOOTSPEC, {}))
    except (ValueError, AttributeError, TypeError) as error:
        raise BuildError(f"{file} is no bootspec: {error}", hint="look at the module that writes it") from error


def _checked(spec: dict[str, Any]) -> dict[str, Any]:
    if "kernelParams" not in spec:
        return {}
    if not all(isinstance(word, str) for word in (*spec["kernelParams"], *(spec.get(key, "") for key in _FILES))):
        raise ValueError("kernel, initrd and kernelParams must be text")
    return dict(spec)


def _refuse_secrets(toplevel: Path, spec: dict[str, Any]) -> None:
    # Without a bootspec the script is always there; it copies something only if there are secrets.
    script = None if spec else _text(toplevel / "append-initrd-secrets")
    if spec.get("initrdSecrets") or (script is not None and _COPIES_A_SECRET.search(script)):
        raise BuildError(
            f"{toplevel.name}: its initrd is incomplete: boot.initrd.secrets are appended only by a boot loader's"
            " installation",
            hint=_SECRETS_HINT,
        )


def _store_file(toplevel: Path, name: str, spec: dict[str, Any], reason: str) -> Path:
    named = spec.get(name) if spec else str(toplevel / name)
    if not named or not Path(named).is_file():
        _incomplete(toplevel, name, reason)
    return Path(named).resolve()


def _kernel_params(toplevel: Path) -> tuple[str, ...]:
    text = _text(toplevel / "kernel-params")
    if text is None:
        _incomplete(toplevel, "kernel-params", "it is no NixOS system")
    return tuple(_WORD.findall(text))


def _incomplete(toplevel: Path, name: str, reason: str) -> NoReturn:
    raise BuildError(
        f"{toplevel} has no {name}: {reason}", hint="`attribute` must name a NixOS configuration that can boot"
    )


def _text(file: Path) -> str | None:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return None  # the caller says what its absence means
