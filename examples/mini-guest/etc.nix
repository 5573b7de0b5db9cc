# What /etc is made of: a folder of files in the store, and links to them by way of /etc/static, so that one rename switches them all.
#   etc/    the files; /etc/static leads here
#   links/  what /etc itself holds
#   files   the paths, one in a line
{ run }:
# files: path = text; executable when it begins with #!.  links: path = store path.
{ files, links }:
let
  inherit (builtins) attrNames concatStringsSep map toFile;
  each = write: set: concatStringsSep "\n" (map
    (path: ''
      target=$out/etc/${path} link=$out/links/${path}
      mkdir -p "''${target%/*}" "''${link%/*}"
      ${write path}
      ln -s "/etc/static/${path}" "$link"
      printf '%s\n' "${path}" >> $out/files
    '')
    (attrNames set));
in
run "etc" { } ''
  mkdir -p $out/etc $out/links
  : > $out/files
  ln -s $out/etc $out/links/static
  ${each (path: ''
    cp ${toFile "file" files.${path}} "$target"
    case $(head -c 2 "$target") in '#!') chmod 0555 "$target" ;; esac
  '') files}
  ${each (path: ''ln -s ${links.${path}} "$target"'') links}
''
