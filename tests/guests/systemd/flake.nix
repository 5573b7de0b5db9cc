{
  description = "A guest with a real systemd, D-Bus and OpenSSH: Debian 13's, from the store";

  outputs = { self }: {
    nixosConfigurations.demo = import ./system.nix {
      name = "demo";
      configuration = import ./configuration.nix;
      fileSystems = import ./mini/file-systems.nix;
      kernelParams = import ./kernel-params.nix;
    };
  };
}
