# Types, architecture, shell scripts: apart from the package, whose closure stays small so. Not ruff, which
# pyproject.toml pins closer than nixpkgs has it.
{
  lib,
  import-linter,
  python3,
  runCommand,
  shellcheck,
}:
runCommand "nixvm-loop-linters"
  {
    src = import ../source.nix { inherit lib; };
    nativeBuildInputs = [
      import-linter
      (python3.withPackages (
        python:
        let
          needed = import ../python-packages.nix python;
        in
        needed.dependencies ++ needed.tests ++ needed.linters
      ))
      shellcheck
    ];
  }
  ''
    cp -r $src checkout
    chmod -R u+w checkout
    cd checkout
    export HOME=$TMPDIR
    mypy
    PYTHONPATH=$PWD lint-imports --no-cache
    grep -rlE '^#!.*sh$|^# Sourced' scripts examples .ci | xargs shellcheck -x -P SCRIPTDIR
    touch $out
  ''
