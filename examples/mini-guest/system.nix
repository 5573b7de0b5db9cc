# What NixOS's `config.system.build` holds, built of the parts that assets.sh collected. There is nothing to edit here for a user of the guest.
{ name, configuration, fileSystems, kernelParams, assetsHash }:
let
  inherit (builtins) attrNames attrValues concatStringsSep listToAttrs map mapAttrs placeholder readFile toFile toJSON;
  inherit (configuration) label;

  system = "x86_64-linux";

  # Already in the store, added by assets.sh under this hash: never built, never fetched.
  assets = derivation {
    name = "assets";
    inherit system;
    builder = "/bin/sh";
    args = [ "-c" "echo 'the parts of the guest are not in the store (any more): run assets.sh' >&2; exit 1" ];
    outputHashMode = "recursive";
    outputHashAlgo = "sha256";
    outputHash = assetsHash;
  };

  # A derivation built by a shell script with busybox's programs.
  run = drvName: attributes: script: derivation ({
    name = drvName;
    inherit system assets;
    builder = "${assets}/bin/busybox";
    args = [ "sh" "-euc" "export PATH=$assets/bin\n${script}" ];
  } // attributes);

  kernel = run "linux-mini" { } ''
    mkdir $out
    cp -R $assets/bzImage $assets/lib $out/
  '';

  # Not compressed: under emulation it boots no slower, and builds faster.
  initialRamdisk = run "initrd-mini" { stage1 = ./stage-1.sh; } ''
    mkdir -p root/bin root/modules root/dev root/proc root/sys root/sysroot $out
    cp $assets/bin/busybox root/bin/busybox
    for applet in cat echo insmod mkdir mount sh switch_root; do ln -s busybox root/bin/$applet; done
    number=10
    while read -r module; do
      cp $assets$module root/modules/$number-''${module##*/}
      number=$((number + 1))
    done < $assets/early-modules
    cp $stage1 root/init
    chmod 0555 root/init
    (cd root && find . | sort | cpio -o -H newc) > $out/initrd
  '';

  packages = mapAttrs (package: script: run package { } script) configuration.packages;

  sw = run "system-path" { packages = attrValues packages; } ''
    mkdir -p $out/bin
    for program in $assets/bin/* $(find $packages -path '*/bin/*' 2>/dev/null); do
      ln -sf $program $out/bin/''${program##*/}
    done
  '';

  etcFiles = {
    motd = configuration.motd + "\n";
    fstab = import ./fstab.nix fileSystems;
    passwd = "root:*:0:0:root:/root:/bin/sh\n";
    group = "root:x:0:\n";
    shells = "/bin/sh\n";
    hostname = name + "\n";
    hosts = "127.0.0.1 localhost ${name}\n";
    os-release = "ID=mini-guest\nNAME=\"nixvm-loop's mini guest\"\nVERSION_ID=${label}\n";
    "acpi/PWRF/00000080" = "#!/bin/sh\nexec poweroff\n";
    "udhcpc.script" = readFile ./udhcpc.sh;
  } // configuration.etc;

  etc = import ./etc.nix { inherit run; } {
    files = etcFiles;
    links = listToAttrs (map
      (service: { name = "service/${service}"; value = toFile service configuration.services.${service}; })
      (attrNames configuration.services));
  };

  # The directories and links of the root, which is an empty tmpfs at first.
  skeleton = run "skeleton" { inherit kernel; } ''
    mkdir -p $out/bin $out/lib $out/lib64 $out/etc $out/root/.ssh $out/run/nixos $out/run/services $out/tmp $out/usr $out/var/log
    ln -s $assets/bin/sh $out/bin/sh
    ln -s /run/current-system/sw/bin $out/usr/bin
    ln -s $kernel/lib/modules $out/lib/modules
    ln -s $assets/libc $out/lib/x86_64-linux-gnu
    ln -s $assets/libc/ld-linux-x86-64.so.2 $out/lib64/ld-linux-x86-64.so.2
  '';

  # RFC 125: what boot loaders and nixvm-loop read.
  bootspec = {
    "org.nixos.bootspec.v1" = {
      inherit system kernelParams;
      label = "mini guest ${label}";
      kernel = "${kernel}/bzImage";
      initrd = "${initialRamdisk}/initrd";
      init = "${placeholder "out"}/init";
      toplevel = placeholder "out";
    };
    "org.nixos.specialisation.v1" = { };
  };

  toplevel = run "nixos-system-${name}-${label}"
    {
      inherit kernel initialRamdisk skeleton etc sw label;
      inherit (configuration) initInterfaceVersion;
      init = ./stage-2.sh;
      activate = ./activate.sh;
      switch = ./switch-to-configuration.sh;
      services = ./services.sh;
      supervise = ./supervise.sh;
      mounts = ./mounts.sh;
      startup = toFile "startup" configuration.startup;
      activation = toFile "activation" configuration.activation;
      kernelParams = concatStringsSep " " kernelParams;
      bootspec = toJSON bootspec;
      passAsFile = [ "bootspec" ];
    } ''
    mkdir -p $out/bin
    ln -s $kernel/bzImage $out/kernel
    ln -s $kernel $out/kernel-modules
    ln -s $initialRamdisk/initrd $out/initrd
    ln -s $etc/etc $out/etc
    ln -s $sw $out/sw
    printf %s "$kernelParams" > $out/kernel-params
    printf %s "$initInterfaceVersion" > $out/init-interface-version
    printf %s "$label" > $out/nixos-version
    printf %s "$system" > $out/system
    echo $skeleton > $out/skeleton-path
    cp $bootspecPath $out/boot.json

    # script FILE TARGET: with the paths filled in.
    script() {
      sed "1s|^#!.*|#!$assets/bin/sh|; s|@out@|$out|g; s|@assets@|$assets|g; s|@skeleton@|$skeleton|g; s|@etc@|$etc|g
        s|@startup@|$startup|g; s|@activation@|$activation|g; s|@supervise@|$supervise|g; s|@mounts@|$mounts|g" $1 > $2
      chmod 0555 $2
    }
    script $init $out/init
    script $services $out/services
    script $activate $out/activate
    script $switch $out/bin/switch-to-configuration
  '';
in
{
  config.system.build = { inherit toplevel kernel initialRamdisk; };
}
