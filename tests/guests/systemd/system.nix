# What NixOS's `config.system.build` holds. Kernel and initrd are the mini guest's; the userland is Debian's.
{ name, configuration, fileSystems, kernelParams }:
let
  inherit (builtins) attrNames concatStringsSep listToAttrs map placeholder readFile toFile toJSON toString;
  inherit (configuration) label;

  system = "x86_64-linux";
  lines = concatStringsSep "\n";

  # Already in the store, added by an assets.sh under this hash: never built, never fetched.
  added = drvName: hash: derivation {
    name = drvName;
    inherit system;
    builder = "/bin/sh";
    args = [ "-c" "echo '${drvName} is not in the store (any more): run assets.sh' >&2; exit 1" ];
    outputHashMode = "recursive";
    outputHashAlgo = "sha256";
    outputHash = hash;
  };
  assets = added "assets" (readFile ./assets.hash);
  userland = added "userland" (readFile ./userland.hash);

  mini = (import ./mini/system.nix {
    inherit name kernelParams;
    configuration = import ./mini/configuration.nix;
    inherit fileSystems;
    assetsHash = readFile ./assets.hash;
  }).config.system.build;
  inherit (mini) kernel initialRamdisk;

  run = drvName: attributes: script: derivation ({
    name = drvName;
    inherit system assets userland;
    builder = "${assets}/bin/busybox";
    args = [ "sh" "-euc" "export PATH=$assets/bin\n${script}" ];
  } // attributes);

  # Debian's own units that this system has; there are no others.
  debianUnits = [
    "multi-user.target" "basic.target" "sysinit.target" "local-fs.target" "local-fs-pre.target" "swap.target" "sockets.target"
    "paths.target" "timers.target" "slices.target" "network.target" "umount.target" "shutdown.target" "final.target"
    "poweroff.target" "reboot.target" "halt.target" "systemd-poweroff.service" "systemd-reboot.service" "systemd-halt.service"
    "emergency.target" "emergency.service" "rescue.target" "rescue.service" "user.slice"
    "systemd-journald.service" "systemd-journald.socket" "systemd-journald-dev-log.socket"
    "systemd-tmpfiles-setup.service" "dbus.service" "dbus.socket" "systemd-logind.service"
  ];
  wants = {
    "sysinit.target" = [ "systemd-journald.service" "systemd-tmpfiles-setup.service" ];
    "sockets.target" = [ "systemd-journald.socket" "systemd-journald-dev-log.socket" "dbus.socket" ];
    "multi-user.target" = [ "network.service" "ssh.service" "systemd-logind.service" ] ++ configuration.start
      ++ (if configuration.failingUnit then [ "failing.service" ] else [ ])
      ++ (if configuration.slowStop > 0 then [ "slow-stop.service" ] else [ ]);
  };

  unitFiles = units: lines (map (unit: "cp ${toFile "unit" units.${unit}} $out/${unit}") (attrNames units));
  units = run "units"
    {
      own = ./units;
      slowStop = toString configuration.slowStop;
    } ''
    mkdir $out
    for unit in ${toString debianUnits}; do cp $userland/usr/lib/systemd/system/$unit $out/; done
    for unit in $own/*; do
      case $unit in
      *.conf) mkdir $out/$(basename $unit .conf).d; cp $unit $out/$(basename $unit .conf).d/quick.conf ;;
      *) sed "s|@assets@|$assets|g; s|@seconds@|$slowStop|g" $unit > $out/$(basename $unit) ;;
      esac
    done
    chmod -R u+w $out
    ${unitFiles configuration.units}
    ln -s ${configuration.target} $out/default.target
    ${lines (map (target: ''
      mkdir $out/${target}.wants
      for unit in ${toString wants.${target}}; do ln -s ../$unit $out/${target}.wants/; done
    '') (attrNames wants))}
    ${if configuration.missingDevice then "mkdir $out/local-fs.target.requires; ln -s ../data.mount $out/local-fs.target.requires/" else ""}
  '';

  etc = import ./mini/etc.nix { inherit run; } {
    files = {
      hostname = name + "\n";
      fstab = import ./mini/fstab.nix fileSystems;
    } // listToAttrs (map (path: { name = path; value = readFile (./etc + "/${path}"); }) [
      "nsswitch.conf" "os-release" "ssh/sshd_config" "systemd/journald.conf.d/quick.conf"
    ]) // configuration.etc;
    links."systemd/system" = units;
  };

  # The root, which is an empty tmpfs at first: the links into /usr, and what is no link in /etc.
  skeleton = run "skeleton" { inherit kernel; ssh = ./etc/ssh; dhcp = ./etc/udhcpc.script; } ''
    mkdir -p $out/etc/ssh $out/root $out/run $out/tmp $out/usr/lib $out/data $out/var/log $out/var/lib $out/var/empty
    for folder in bin sbin lib lib64; do ln -s usr/$folder $out/$folder; done
    ln -s /run $out/var/run
    ln -s $kernel/lib/modules $out/usr/lib/modules
    for file in passwd group shadow gshadow ld.so.cache; do cp $userland/etc/$file $out/etc/; done
    cp $ssh/ssh_host_* $out/etc/ssh/
    sed "s|@assets@|$assets|g" $dhcp > $out/etc/udhcpc.script
    chmod 0555 $out/etc/udhcpc.script
  '';

  bootspec = {
    "org.nixos.bootspec.v1" = {
      inherit system kernelParams;
      label = "systemd guest ${label}";
      kernel = "${kernel}/bzImage";
      initrd = "${initialRamdisk}/initrd";
      init = "${placeholder "out"}/init";
      toplevel = placeholder "out";
    };
    "org.nixos.specialisation.v1" = { };
  };

  toplevel = run "nixos-system-${name}-${label}"
    {
      inherit kernel initialRamdisk skeleton etc label;
      inherit (configuration) initInterfaceVersion;
      init = ./stage-2.sh;
      activate = ./mini/activate.sh;
      switch = ./mini/switch-to-configuration.sh;
      services = ./units.sh;
      mounts = ./mini/mounts.sh;
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
    ln -s $userland/usr $out/sw
    printf %s "$kernelParams" > $out/kernel-params
    printf %s "$initInterfaceVersion" > $out/init-interface-version
    printf %s "$label" > $out/nixos-version
    printf %s "$system" > $out/system
    # Only a boot makes the root.
    echo - > $out/skeleton-path
    cp $bootspecPath $out/boot.json

    # script FILE TARGET ROOT: with the paths filled in.
    script() {
      sed "1s|^#!.*|#!$assets/bin/sh|; s|@out@|$out|g; s|@assets@|$assets|g; s|@skeleton@|$3|g; s|@etc@|$etc|g; s|@userland@|$userland|g
        s|@activation@|$activation|g; s|@mounts@|$mounts|g" $1 > $2
      chmod 0555 $2
    }
    script $init $out/init $skeleton
    script $services $out/services -
    script $activate $out/activate -
    script $switch $out/bin/switch-to-configuration -
  '';
in
{
  config.system.build = { inherit toplevel kernel initialRamdisk; };
}
