# A package set of names without contents, for a tree that has NixOS's modules and lib but no packages: whatever name
# the modules mention is a package that can be interpolated, called, overridden, and has every output.
{
  lib,
  names,
  flags ? [ ],
  extra ? [ ],
  path,
  system,
}:
let
  platform = lib.systems.elaborate system;

  package = name: lib.fix (self: {
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
    shellPath = "/bin/${name}";
    features = { };
    src = self;
    override = _: self;
    overrideAttrs = _: self;
    extend = _: self;
    callPackage = _: _: self;
    __functor = self: argument: if builtins.isString argument then package argument else self;
  } // lib.genAttrs ([ "bin" "dev" "doc" "info" "lib" "man" "out" "modules" "fd" "libc" ] ++ extra) (_: self) // lib.genAttrs flags (_: true));

  stdenv = package "stdenv" // lib.filterAttrs (name: _: lib.hasPrefix "is" name) platform // {
    hostPlatform = platform;
    buildPlatform = platform;
    targetPlatform = platform;
    cc = package "cc";
    mkDerivation = arguments: package (if builtins.isAttrs arguments then arguments.name or arguments.pname or "drv" else "drv");
  };

  # A package, or a set of them.
  packages = lib.mapAttrs (
    name: within: package name // lib.genAttrs within package
  ) names;

  format = _: {
    type = lib.types.anything;
    generate = package;
    lib = { };
  };
in
packages
// rec {
  inherit lib path stdenv system;
  _type = "pkgs";
  config = { };
  overlays = [ ];
  inherit (stdenv) hostPlatform buildPlatform targetPlatform;
  formats = lib.genAttrs [
    "elixirConf"
    "gitIni"
    "hocon"
    "ini"
    "iniWithGlobalSection"
    "javaProperties"
    "json"
    "keyValue"
    "libconfig"
    "php"
    "pythonVars"
    "systemd"
    "toml"
    "xml"
    "yaml"
  ] (_: format);
  pkgsStatic = packages;
  pkgsi686Linux = packages;
  libxcrypt = package "libxcrypt" // { enabledCryptSchemeIds = [ "y" ]; };
  runtimeShell = "/bin/sh";
  linuxPackages = package "linuxPackages" // {
    kernel = package "linux" // {
      config = rec {
        isEnabled = _: true;
        isDisabled = name: !isEnabled name;
        isYes = _: false;
        isNo = _: false;
        isModule = _: true;
      };
    };
    extend = _: linuxPackages;
  };
}
