# nixvm-loop as a package, of nixpkgs' Python packages. Called by callPackage.
{
  lib,
  git,
  installShellFiles,
  openssh,
  python3Packages,
  stdenv,
  util-linux,
}:
let
  python = import ./python-packages.nix python3Packages;
  # Nix itself is the user's own: its version has to fit the daemon's and the store's. So is libvirt's daemon.
  programs = [
    git
    openssh
    util-linux
  ];
  # shtab knows fish since 1.10.
  shells = [
    "bash"
    "zsh"
  ]
  ++ lib.optional (lib.versionAtLeast python3Packages.shtab.version "1.10") "fish";
in
python3Packages.buildPythonApplication {
  pname = "nixvm-loop";
  version = lib.head (
    builtins.match ''.*__version__ = "([^"]+)".*'' (builtins.readFile ../nixvm_loop/__init__.py)
  );
  pyproject = true;
  src = import ./source.nix { inherit lib; };

  build-system = [ python3Packages.hatchling ];
  inherit (python) dependencies;
  nativeBuildInputs = [ installShellFiles ];
  # pytest's configuration leaves out tests/e2e, which needs Nix, libvirt and QEMU: `scripts/test` runs it.
  nativeCheckInputs = python.tests ++ [ python3Packages.pytestCheckHook ] ++ programs;
  pythonRelaxDeps = true;
  pythonImportsCheck = [ "nixvm_loop" ];

  postInstall = lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    # The program itself finds its packages only when it has been wrapped.
    ours() { PYTHONPATH=$out/${python3Packages.python.sitePackages}:$PYTHONPATH ${python3Packages.python.interpreter} -m nixvm_loop "$@"; }
    for shell in ${toString shells}; do
      ours completions $shell > nixvm-loop.$shell
      installShellCompletion --cmd nixvm-loop --$shell nixvm-loop.$shell
    done
    ours manpage > nixvm-loop.1
    installManPage nixvm-loop.1
  '';

  makeWrapperArgs = [
    "--prefix"
    "PATH"
    ":"
    (lib.makeBinPath programs)
  ];

  meta = {
    description = "Build a NixOS guest on each save, boot it, and prove that the guest runs it";
    license = lib.licenses.mit;
    mainProgram = "nixvm-loop";
    platforms = import ./systems.nix;
  };
}
