# Stands in for the packages where there is only NixOS's code: whatever the modules mention is a package without
# contents, which can be interpolated, called, overridden, and has every output.
{
  lib,
  # { packages = { NAME = [ ATTRIBUTES THAT ARE PACKAGES ]; }; features = [ "withX" ]; }
  names,
  path,
  system,
}:
let
  platform = lib.systems.elaborate system;
  outputs = [
    "bin"
    "dev"
    "doc"
    "fd"
    "info"
    "lib"
    "libc"
    "man"
    "modules"
    "out"
  ];
  parts = [
    "kmod"
    "lndir"
    "p11kit"
    "util-linux"
  ];

  package =
    name:
    lib.fix (
      self:
      {
        type = "derivation";
        inherit name system;
        pname = name;
        version = "99.0";
        outputs = [ "out" ];
        outputName = "out";
        outPath = "/nix/store/${lib.fixedWidthString 32 "0" ""}-${lib.strings.sanitizeDerivationName name}";
        drvPath = "${self.outPath}.drv";
        meta = {
          mainProgram = name;
          platforms = lib.platforms.all;
        };
        passthru = { };
        features = { };
        shellPath = "/bin/${name}";
        src = self;
        override = _: self;
        overrideAttrs = _: self;
        extend = _: self;
        callPackage = _: _: self;
        __functor = self: argument: if builtins.isString argument then package argument else self;
      }
      // lib.genAttrs (outputs ++ parts) (_: self)
      // lib.genAttrs names.features (_: true)
    );
  packages = lib.mapAttrs (name: within: package name // lib.genAttrs within package) names.packages;

  stdenv =
    package "stdenv"
    // lib.filterAttrs (name: _: lib.hasPrefix "is" name) platform
    // {
      hostPlatform = platform;
      buildPlatform = platform;
      targetPlatform = platform;
      cc = package "cc";
    };
in
packages
// rec {
  inherit
    lib
    path
    stdenv
    system
    ;
  inherit (stdenv) buildPlatform hostPlatform targetPlatform;
  _type = "pkgs";
  config = { };
  overlays = [ ];
  pkgsStatic = packages;
  pkgsi686Linux = packages;
  libxcrypt = package "libxcrypt" // {
    enabledCryptSchemeIds = [ "y" ];
  };
  formats = lib.genAttrs names.packages.formats (
    _: _: {
      type = lib.types.anything;
      generate = package;
      lib = { };
    }
  );
  linuxPackages = package "linuxPackages" // {
    kernel = package "linux";
    extend = _: linuxPackages;
  };
}
