{
  description = "A guest in a minute, with the outputs of a NixOS system, made of Debian's kernel, busybox and dropbear";

  outputs = { self }: {
    nixosConfigurations.demo = import ./system.nix {
      name = "demo";
      configuration = import ./configuration.nix;
      fileSystems = import ./file-systems.nix;
      kernelParams = import ./kernel-params.nix;
      assetsHash =
        if builtins.pathExists ./assets.hash
        then builtins.readFile ./assets.hash
        else throw "assets.hash is missing: run ./assets.sh, then git add -f assets.hash";
    };
  };
}
