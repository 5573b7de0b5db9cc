# The guest. Save this file while `nixvm-loop watch` runs.
{ lib, ... }:
{
  keystone.virtualization.guest.virtiofs.enable = true;

  networking.hostName = "demo";

  users.motd = "A guest of nixvm-loop.";

  # Nix in the guest: `nix` and `nix-store --verify` know what the host registered.
  nix.settings.experimental-features = [
    "nix-command"
    "flakes"
  ];

  # Less to evaluate and to build at each save.
  documentation.enable = false;

  system.stateVersion = lib.mkDefault "26.05";
}
