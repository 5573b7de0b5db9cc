# The text of fstab, as NixOS writes it, from what file-systems.nix says.
fileSystems:
let
  inherit (builtins) attrNames concatStringsSep map;
  entry = point: with fileSystems.${point}; "${device} ${point} ${fsType} ${concatStringsSep "," options} 0 0\n";
in
"# Made from file-systems.nix.\n" + concatStringsSep "" (map entry (attrNames fileSystems))
