# A whole NixOS, all modules of it, with those in `modules`: paths, or sets as JSON has them.
{
  nixpkgs,
  modules,
  names,
}:
let
  lib = import (nixpkgs + "/lib");
  system = "x86_64-linux";
  hasPackages = builtins.pathExists (nixpkgs + "/pkgs/top-level/default.nix");
  pkgs =
    if hasPackages then
      import nixpkgs {
        localSystem = system;
        config = { };
        overlays = [ ];
      }
    else
      import ./stand_in_pkgs.nix {
        inherit lib system;
        path = nixpkgs;
        names = builtins.fromJSON names;
      };

  evaluated = import (nixpkgs + "/nixos/lib/eval-config.nix") {
    inherit lib;
    system = null;
    modules = [
      {
        _module.args.pkgs = lib.mkForce pkgs;
        nixpkgs.hostPlatform = system;
        system.stateVersion = lib.mkOverride 900 lib.trivial.release;
      }
    ]
    ++ map (module: if builtins.isString module then /. + module else module) (builtins.fromJSON modules);
  };
  inherit (evaluated) config options;
in
rec {
  guest = {
    fileSystems = lib.mapAttrs (_: fileSystem: {
      inherit (fileSystem)
        device
        fsType
        neededForBoot
        noCheck
        options
        ;
    }) config.fileSystems;
    initrdModules = config.boot.initrd.kernelModules;
    availableModules = config.boot.initrd.availableKernelModules;
    params = config.boot.kernelParams;
    storeOptions =
      if options.boot ? nixStoreMountOpts then
        config.boot.nixStoreMountOpts
      else
        lib.optional config.boot.readOnlyNixStore "ro";
    grub = config.boot.loader.grub.enable;
    requiredKernelConfig = map (required: required.configLine) config.system.requiredKernelConfig;
    sshd = config.services.openssh.enable;
    keyFiles = config.services.openssh.authorizedKeysFiles;
    hostKeys = map (key: key.type) config.services.openssh.hostKeys;
    scripts =
      lib.mapAttrs
        (_: service: {
          inherit (service) after script;
          inherit (service) serviceConfig;
        })
        (
          lib.filterAttrs (name: _: lib.hasPrefix "nixvm-loop-" name) config.systemd.services
        );
    servers = lib.mapAttrs (_: service: { inherit (service) after wants; }) (
      lib.filterAttrs (
        name: _:
        lib.elem name [
          "sshd"
          "sshd@"
        ]
      ) config.systemd.services
    );
    inherit said;
  };

  host = {
    inherit (config.virtualisation.libvirtd) enable onShutdown;
    virtiofsd = map (package: package.name) config.virtualisation.libvirtd.qemu.vhostUserPackages;
    daemonPath = map lib.getName config.systemd.services.libvirtd.path or [ ];
    # What the module installs: to name all that NixOS does takes packages that the stand-in has not.
    installed = lib.concatMap (definition: map lib.getName definition.value) (
      lib.filter (
        definition: lib.hasSuffix "host-virtiofs.nix" (toString definition.file)
      ) options.environment.systemPackages.definitionsWithLocations
    );
    members = config.users.groups.libvirtd.members or [ ];
    environment = config.systemd.services.libvirt-guests.environment.ON_SHUTDOWN or null;
    units = lib.mapAttrs (_: unit: unit.text) (
      lib.filterAttrs (name: _: lib.hasPrefix "nixvm-loop-" name) config.systemd.user.units
    );
    inherit said;
  };

  # What NixOS says before it builds: the messages of assertions that do not hold, and warnings.
  said = {
    failed = map (assertion: assertion.message) (
      builtins.filter (assertion: !assertion.assertion) config.assertions
    );
    inherit (config) warnings;
  };

  # Everything that the modules' texts need: units of both stages, files below /etc; with packages, the system itself.
  texts = {
    units = lib.mapAttrs (_: unit: builtins.stringLength unit.text) config.systemd.units;
    initrd = lib.optionalAttrs config.boot.initrd.systemd.enable (
      lib.mapAttrs (_: unit: builtins.stringLength unit.text) config.boot.initrd.systemd.units
    );
    etc = lib.mapAttrs (
      _: file: builtins.stringLength (if file.text == null then "${file.source}" else file.text)
    ) config.environment.etc;
    system = lib.optionalString hasPackages config.system.build.toplevel.drvPath;
    inherit said;
  };
}
