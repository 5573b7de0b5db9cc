"""The prose of the module system, and where an option is defined in a file."""

from __future__ import annotations

import pytest

from nixvm_loop.diagnostics.modules import failed_assertions, files_of, option_of, position_of

NESTED = """{ lib, ... }:
{
  # services.web.enable = false;
  services.mail.enable = true;
  services.web = {
    enable = true;
  };
  boot.initrd."kernelModules" = [ ];
  networking = { hostName = "x"; };
  environment.etc."issue".text = "hi";
  programs.git = import ./git.nix;
  config = { boot.loader = lib.mkIf (1 == 1) { grub = ''
    services.web.enable = "not code";
  ''; }; };
}
"""


@pytest.mark.parametrize(
    ("option", "position"),
    [
        ("services.web.enable", (6, 5)),
        ("services.mail.enable", (4, 17)),
        ("boot.initrd.kernelModules", (8, 15)),
        ("networking.hostName", (9, 18)),
        ("environment.etc.issue.text", (10, 27)),
        ('environment.etc."issue".text', (10, 27)),
        ("services.web", (5, 12)),
        ("boot.loader.grub", (12, 48)),
        ("programs.git.config", (11, 12)),
        ("nowhere", (1, 1)),
        ("", (1, 1)),
    ],
)
def test_where_an_option_is_defined(option: str, position: tuple[int, int]) -> None:
    """Nested, dotted and quoted definitions are found; comments and namesakes are not."""
    assert position_of(option, NESTED) == position


def test_files_that_an_error_names() -> None:
    """Each definition's file, with what the module system adds to its name taken off."""
    text = "x:\n- In `/a/b.nix': 1\n- In `/a/c.nix, via option flake.modules': 2\n- In `<unknown-file>': 3"
    assert files_of(text) == ("/a/b.nix", "/a/c.nix", "<unknown-file>")
    assert files_of("The option `x' in `/a/d.nix' is already declared in `/a/e.nix'.") == ("/a/d.nix", "/a/e.nix")


def test_the_option_that_an_error_is_about() -> None:
    """Both ways in which the module system speaks of an option are known."""
    assert option_of("The option `a.b' does not exist.") == "a.b"
    assert option_of("A definition for option `a.b' is not of type `bool'") == "a.b"
    assert option_of("attribute 'x' missing") is None


def test_assertions_with_several_lines() -> None:
    """A message may go over lines; another error has none."""
    assert failed_assertions("\nFailed assertions:\n- one\n  more\n- two") == ("one\n  more", "two")
    assert failed_assertions("undefined variable 'x'") == ()
