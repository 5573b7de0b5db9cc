{
  description = "Watch a NixOS guest's configuration; build it, boot it, prove that the guest runs it";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      eachSystem =
        make:
        nixpkgs.lib.genAttrs (import ./nix/systems.nix) (
          system:
          make {
            inherit system;
            pkgs = nixpkgs.legacyPackages.${system};
            package = self.packages.${system}.default;
          }
        );
    in
    {
      packages = eachSystem (
        { pkgs, ... }:
        rec {
          nixvm-loop = pkgs.callPackage ./nix/package.nix { };
          default = nixvm-loop;
        }
      );

      apps = eachSystem (
        { package, ... }:
        rec {
          nixvm-loop = {
            type = "app";
            program = "${package}/bin/nixvm-loop";
            meta.description = "Build a NixOS guest on each save, boot it, and prove that the guest runs it";
          };
          default = nixvm-loop;
        }
      );

      devShells = eachSystem ({ pkgs, ... }: { default = pkgs.callPackage ./nix/shell.nix { }; });

      # The package's build runs its tests. `guest` boots a guest within a machine: it needs KVM, nested.
      checks = eachSystem (
        {
          system,
          pkgs,
          package,
        }:
        {
          nixvm-loop = package;
          linters = pkgs.callPackage ./nix/checks/linters.nix { };
          modules = pkgs.callPackage ./nix/checks/modules.nix { inherit nixpkgs; };
        }
        // (
          if system == "x86_64-linux" then
            { guest = pkgs.callPackage ./nix/checks/guest.nix { inherit nixpkgs package; }; }
          else
            { }
        )
      );

      overlays.default = final: _: { nixvm-loop = final.callPackage ./nix/package.nix { }; };

      nixosModules = rec {
        host-virtiofs = ./nix/host-virtiofs.nix;
        guest-virtiofs = ./nix/guest-virtiofs.nix;
        # Each of the two does nothing until it is enabled.
        default = {
          imports = [
            host-virtiofs
            guest-virtiofs
          ];
        };
      };

      templates.default = {
        path = ./nix/template;
        description = "A NixOS guest that runs from the host's store, and the host's side of it";
        welcomeText = ''
          Say where nixvm-loop is, in flake.nix or once for the lock file, and go on:

              nix flake lock --override-input nixvm-loop WHERE
              git init; git add .
              nixvm-loop create --start
              nixvm-loop watch

          The host needs the module in host.nix, or libvirtd with virtiofsd of its own.
        '';
      };
    };
}
