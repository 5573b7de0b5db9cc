# The checkout without what working in it leaves there.
{ lib }:
lib.fileset.toSource {
  root = ../.;
  fileset = lib.fileset.difference ../. (
    lib.fileset.unions (
      map lib.fileset.maybeMissing [
        ../.cache
        ../.git
        ../.venv
        ../result
      ]
    )
  );
}
