# What working on nixvm-loop takes. The checkout itself is what runs: `python -m nixvm_loop`.
{
  git,
  import-linter,
  mkShell,
  openssh,
  python3,
  ruff,
  shellcheck,
  util-linux,
}:
let
  packages = import ./python-packages.nix;
in
mkShell {
  packages = [
    git
    import-linter
    openssh
    (python3.withPackages (
      python:
      let
        needed = packages python;
      in
      needed.dependencies ++ needed.tests ++ needed.linters
    ))
    ruff
    shellcheck
    util-linux
  ];
  shellHook = ''export PYTHONPATH="$PWD''${PYTHONPATH:+:$PYTHONPATH}"'';
}
