{
  description = "A NixOS guest that runs from the host's store";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

    # Where nixvm-loop is: put its URL here, or give it once to
    # `nix flake lock --override-input nixvm-loop WHERE`, which notes it in the lock file.
    nixvm-loop = {
      url = "nixvm-loop";
      inputs.nixpkgs.follows = "nixpkgs";
    };
  };

  outputs =
    {
      self,
      nixpkgs,
      nixvm-loop,
    }:
    {
      # The guest: what `nixvm-loop watch` builds and boots.
      nixosConfigurations.demo = nixpkgs.lib.nixosSystem {
        system = "x86_64-linux";
        modules = [
          nixvm-loop.nixosModules.guest-virtiofs
          ./guest.nix
        ];
      };

      # The host: import this in the configuration of the machine that runs the guest.
      nixosModules.host.imports = [
        nixvm-loop.nixosModules.host-virtiofs
        ./host.nix
      ];
    };
}
