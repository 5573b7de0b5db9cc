{
  description = "Watch a NixOS guest's configuration; build it, boot it, prove that the guest runs it";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      # libvirt's QEMU driver runs on these.
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      eachSystem = make: lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});

      dependencies =
        python: with python; [
          asyncssh
          libvirt
          lxml
          pathspec
          platformdirs
          pydantic
          rich
          watchfiles
        ];
      testDependencies =
        python: with python; [
          anyio
          hypothesis
          inline-snapshot
          pytest
          pytest-timeout
          pytest-xdist
        ];
      # Nix itself is the user's own: its version has to fit the daemon's and the store's. So is libvirt's daemon.
      programs = pkgs: [
        pkgs.git
        pkgs.openssh
        pkgs.util-linux
      ];

      package =
        pkgs:
        pkgs.python3Packages.buildPythonApplication {
          pname = "nixvm-loop";
          version = lib.head (
            builtins.match ''.*__version__ = "([^"]+)".*'' (builtins.readFile ./nixvm_loop/__init__.py)
          );
          pyproject = true;
          src = self;

          build-system = [ pkgs.python3Packages.hatchling ];
          dependencies = dependencies pkgs.python3Packages;
          # pytest's configuration leaves out tests/e2e, which needs Nix, libvirt and QEMU: `scripts/test` runs it.
          nativeCheckInputs =
            testDependencies pkgs.python3Packages ++ [ pkgs.python3Packages.pytestCheckHook ] ++ programs pkgs;
          pythonRelaxDeps = true;
          pythonImportsCheck = [ "nixvm_loop" ];
          makeWrapperArgs = [
            "--prefix"
            "PATH"
            ":"
            (lib.makeBinPath (programs pkgs))
          ];

          meta = {
            description = "Build a NixOS guest on each save, boot it, and prove that the guest runs it";
            license = lib.licenses.mit;
            mainProgram = "nixvm-loop";
            platforms = systems;
          };
        };

      shell =
        pkgs:
        pkgs.mkShell {
          packages = programs pkgs ++ [
            (pkgs.python3.withPackages (python: dependencies python ++ testDependencies python))
            pkgs.import-linter
            pkgs.mypy
            pkgs.ruff
            pkgs.shellcheck
          ];
          # The checkout itself is what runs: `python -m nixvm_loop`.
          shellHook = ''export PYTHONPATH="$PWD''${PYTHONPATH:+:$PYTHONPATH}"'';
        };
    in
    {
      packages = eachSystem (pkgs: rec {
        nixvm-loop = package pkgs;
        default = nixvm-loop;
      });

      apps = eachSystem (pkgs: rec {
        nixvm-loop = {
          type = "app";
          program = "${self.packages.${pkgs.stdenv.hostPlatform.system}.default}/bin/nixvm-loop";
        };
        default = nixvm-loop;
      });

      devShells = eachSystem (pkgs: {
        default = shell pkgs;
      });

      checks = eachSystem (pkgs: {
        inherit (self.packages.${pkgs.stdenv.hostPlatform.system}) nixvm-loop;
      });
    };
}
