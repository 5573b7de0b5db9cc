# A guest that boots from the host's store: a virtiofs share below, a writable layer above, an overlay of both.
{
  config,
  lib,
  options,
  ...
}:
let
  inherit (lib)
    mkDefault
    mkEnableOption
    mkIf
    mkMerge
    mkOption
    optional
    optionalAttrs
    types
    ;

  cfg = config.keystone.virtualization.guest.virtiofs;
  has = path: lib.hasAttrByPath path options;
  checks = import ./guest-checks.nix {
    inherit
      cfg
      config
      has
      lib
      options
      ;
    thisFile = ./guest-virtiofs.nix;
  };
  inherit (checks) roStore rwStore;

  absolutePath = types.strMatching "/.*[^/]" // {
    description = "absolute path without a slash at its end";
  };
in
{
  _file = ./guest-virtiofs.nix;

  imports = [ ./guest-ssh.nix ];

  options.keystone.virtualization.guest.virtiofs = {
    enable = mkEnableOption "running from the host's store, shared by virtiofs";

    shareName = mkOption {
      type = types.str;
      default = "nix-store-share";
      description = "The share's tag: what the domain's `<target dir=…/>` says, and `store.share` in nixvm-loop.toml.";
    };

    mountPoint = mkOption {
      type = absolutePath;
      default = "/nix/store";
      description = "Where the overlay is mounted.";
    };

    roStoreMount = mkOption {
      type = absolutePath;
      default = "/nix/.ro-store";
      description = "Where the share is mounted, read-only: the overlay's lower layer.";
    };

    rwStoreMount = mkOption {
      type = absolutePath;
      default = "/nix/.rw-store";
      description = "Where the writable layer is: the file system that holds the overlay's upper and work directory.";
    };

    rwStoreSize = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "2G";
      description = ''
        How large the writable layer may become when it is a tmpfs: what tmpfs's `size=` takes. Null leaves it at half
        of the guest's memory.
      '';
    };

    persistentRwStore = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether the writable layer outlives a boot. Then `fileSystems.<rwStoreMount>` is declared by you, with
        `neededForBoot = true`; else it is a tmpfs, empty at each boot.
      '';
    };

    readOnlyStore = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Whether the running system has its store remounted read-only, as NixOS does. Nix in the guest can add to it
        either way.
      '';
    };

    console = mkOption {
      type = types.nullOr types.str;
      default = "ttyS0";
      description = ''
        The serial port that is the console (`console=` on the kernel's command line): what nixvm-loop reads. Settings may
        follow the port (`ttyS0,115200n8`). Null sets no such parameter.
      '';
    };

    panicOnFailedBoot = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Whether a first stage that fails panics and a panic ends the guest, so that nixvm-loop notices at once. Without
        it, the guest waits at a prompt until the time for its boot is over.
      '';
    };
  };

  config = mkIf cfg.enable (mkMerge [
    {
      inherit (checks) assertions warnings;

      fileSystems = {
        # Whoever says what the root is, says it instead; more options alone are added.
        "/" = mkIf (checks.otherRoots == [ ]) {
          device = "tmpfs";
          fsType = "tmpfs";
          options = [ "mode=0755" ];
        };

        ${roStore} = {
          device = cfg.shareName;
          fsType = "virtiofs";
          # A tag is no device that a mount could wait for: the driver has to be there before.
          options = [
            "ro"
            "x-systemd.after=systemd-modules-load.service"
          ];
          neededForBoot = true;
          noCheck = true;
        };

        # If another module mounts the store as well, an assertion says so: better than two values that conflict.
        ${cfg.mountPoint} = mkIf (checks.otherMounts == [ ]) {
          neededForBoot = true;
          overlay = {
            lowerdir = [ roStore ];
            upperdir = "${rwStore}/upper";
            workdir = "${rwStore}/work";
          };
          # With one of these, the host could not add to the share while the overlay is mounted, nor a layer be kept.
          options = [
            "redirect_dir=off"
            "index=off"
            "xino=off"
            "metacopy=off"
          ];
        };
      }
      // optionalAttrs (!cfg.persistentRwStore) {
        ${rwStore} = mkIf (checks.otherLayers == [ ]) {
          device = "tmpfs";
          fsType = "tmpfs";
          options = [ "mode=0755" ] ++ optional (cfg.rwStoreSize != null) "size=${cfg.rwStoreSize}";
          neededForBoot = true;
        };
      };

      boot.initrd = {
        availableKernelModules = [
          "virtio_blk"
          "virtio_console"
          "virtio_net"
          "virtio_rng"
          "virtio_scsi"
        ];
        kernelModules = [
          "overlay"
          "virtio_pci"
          "virtiofs"
        ];
      };

      boot.kernelParams =
        optional (cfg.console != null) "console=${cfg.console}"
        ++ lib.optionals cfg.panicOnFailedBoot [
          "boot.panic_on_fail"
          "panic=-1"
        ];
    }

    # The kernel is booted directly.
    (optionalAttrs (has [
      "boot"
      "loader"
      "grub"
      "enable"
    ]) { boot.loader.grub.enable = mkDefault false; })

    # A kernel of the user's own is checked by NixOS; its own kernels have all of it.
    (optionalAttrs
      (
        has [
          "system"
          "requiredKernelConfig"
        ]
        && has [ "lib" ]
      )
      {
        system.requiredKernelConfig = map config.lib.kernelConfig.isEnabled [
          "OVERLAY_FS"
          "VIRTIO_FS"
          "VIRTIO_PCI"
        ];
      }
    )

    (mkIf (!cfg.readOnlyStore) (
      if
        has [
          "boot"
          "nixStoreMountOpts"
        ]
      then
        {
          boot.nixStoreMountOpts = [
            "nodev"
            "nosuid"
          ];
        }
      else
        optionalAttrs (has [
          "boot"
          "readOnlyNixStore"
        ]) { boot.readOnlyNixStore = false; }
    ))
  ]);
}
