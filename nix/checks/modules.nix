# Whole systems with the two modules, evaluated by the nixpkgs that the flake is given: guests with each option of the
# guest module but mountPoint at another value than its default, and a host.
{
  lib,
  nixpkgs,
  stdenv,
  writeText,
}:
let
  evaluate =
    modules:
    import (nixpkgs + "/nixos/lib/eval-config.nix") {
      inherit lib;
      system = stdenv.hostPlatform.system;
      modules = modules ++ [ { system.stateVersion = lib.trivial.release; } ];
    };
  guest =
    name: settings:
    lib.nameValuePair "guest-${name}" (evaluate [
      ../guest-virtiofs.nix
      ../template/guest.nix
      { keystone.virtualization.guest.virtiofs = settings; }
    ]);
  persistent = {
    fileSystems."/nix/.rw-store" = {
      device = "/dev/vda";
      fsType = "ext4";
      neededForBoot = true;
    };
  };
  systems =
    lib.listToAttrs [
      (guest "plain" { })
      (guest "writable" { readOnlyStore = false; })
      (guest "small" { rwStoreSize = "1G"; })
      (guest "quiet" {
        console = null;
        panicOnFailedBoot = false;
      })
      (guest "other-names" {
        shareName = "host-store";
        roStoreMount = "/nix/.host";
        rwStoreMount = "/nix/.own";
      })
      (guest "no-ssh" { ssh.enable = false; })
      (guest "silent-ssh" { ssh.announceHostKeys = false; })
    ]
    // {
      guest-persistent = evaluate [
        ../guest-virtiofs.nix
        ../template/guest.nix
        persistent
        { keystone.virtualization.guest.virtiofs.persistentRwStore = true; }
      ];
      guest-systemd-initrd = evaluate [
        ../guest-virtiofs.nix
        ../template/guest.nix
        { boot.initrd.systemd.enable = lib.mkForce true; }
      ];
      host = evaluate [
        ../host-virtiofs.nix
        ../template/host.nix
        {
          boot.loader.grub.enable = false;
          fileSystems."/".device = "/dev/vda";
          fileSystems."/".fsType = "ext4";
          keystone.virtualization.host.virtiofs.watch.projects.demo.config = "/srv/demo/nixvm-loop.toml";
        }
      ];
    }
    # NixOS is about to lose it.
    // lib.optionalAttrs (lib.versionOlder lib.trivial.release "26.11") {
      guest-scripted-initrd = evaluate [
        ../guest-virtiofs.nix
        ../template/guest.nix
        { boot.initrd.systemd.enable = lib.mkForce false; }
      ];
    };
in
# Its text is the proof: nothing is built, and a failed assertion ends the evaluation.
writeText "nixvm-loop-modules" (
  lib.concatLines (
    lib.mapAttrsToList (
      name: system: "${name} ${builtins.unsafeDiscardStringContext system.config.system.build.toplevel.drvPath}"
    ) systems
  )
)
