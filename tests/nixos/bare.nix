# The modules with nothing but the options that they need, declared here.
{ nixpkgs, module }:
let
  lib = import (nixpkgs + "/lib");
  anything = lib.mkOption {
    type = lib.types.anything;
    default = { };
  };
  list = lib.mkOption {
    type = lib.types.listOf lib.types.anything;
    default = [ ];
  };
  guest = {
    options = {
      fileSystems = lib.mkOption {
        type = lib.types.attrsOf (
          lib.types.submodule (
            { name, ... }:
            {
              freeformType = lib.types.anything;
              options.mountPoint = lib.mkOption { default = name; };
            }
          )
        );
      };
      boot.initrd.availableKernelModules = list;
      boot.initrd.kernelModules = list;
      boot.kernelParams = list;
      assertions = list;
      warnings = list;
    };
    config.keystone.virtualization.guest.virtiofs.enable = true;
  };
  host = {
    options = {
      virtualisation.libvirtd = anything;
      assertions = list;
    };
    config._module.args.pkgs = {
      virtiofsd = derivation {
        name = "virtiofsd";
        builder = "none";
        system = "none";
      };
    };
    config.keystone.virtualization.host.virtiofs = {
      enable = true;
      package = null;
    };
  };
  inherit
    (lib.evalModules {
      modules = [
        (if module == "guest" then guest else host)
        (../../nix + "/${module}-virtiofs.nix")
      ];
    })
    config
    ;
in
{
  failed = map (assertion: assertion.message) (
    builtins.filter (assertion: !assertion.assertion) config.assertions
  );
  mounts = builtins.attrNames config.fileSystems or { };
  onShutdown = config.virtualisation.libvirtd.onShutdown or null;
}
