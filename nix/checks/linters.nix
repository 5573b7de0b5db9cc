# Lint, types, architecture, shell scripts: apart from the package, whose closure stays small so.
{
  lib,
  import-linter,
  python3,
  ruff,
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
      ruff
      shellcheck
    ];
  }
  ''
    cp -r $src checkout
    chmod -R u+w checkout
    cd checkout
    export HOME=$TMPDIR
    ruff check --no-cache
    ruff format --check --no-cache
    mypy
    PYTHONPATH=$PWD lint-imports --no-cache
    grep -rlE '^#!.*sh$|^# Sourced' scripts examples .ci | xargs shellcheck -x -P SCRIPTDIR
    touch $out
  ''
