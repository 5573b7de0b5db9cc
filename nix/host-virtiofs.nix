# A host that shares its store with guests: libvirtd, virtiofsd, nixvm-loop, and who may use them.
{
  config,
  lib,
  options,
  pkgs,
  ...
}:
let
  inherit (lib)
    mkDefault
    mkEnableOption
    mkIf
    mkMerge
    mkOption
    optionalAttrs
    types
    ;

  cfg = config.keystone.virtualization.host.virtiofs;
  has = path: lib.hasAttrByPath path options;

  project = types.submodule {
    options = {
      config = mkOption {
        type = types.strMatching "/.*";
        example = "/home/ann/guest/nixvm-loop.toml";
        description = "The project's nixvm-loop.toml; an absolute path.";
      };

      guest = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = "The guest to watch. Null: the only one that the project configures.";
      };

      user = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = ''
          Whose service it is. Null: that of each member of group libvirtd who logs in, which suits a machine with one
          such user.
        '';
      };
    };
  };

  watch = name: value: {
    name = "nixvm-loop-watch-${name}";
    value = {
      description = "nixvm-loop watch: ${name}";
      wantedBy = [ "default.target" ];
      unitConfig = {
        ConditionPathExists = escape value.config;
      }
      // (if value.user == null then { ConditionGroup = "libvirtd"; } else { ConditionUser = value.user; });
      path = lib.optional (has [
        "nix"
        "package"
      ]) config.nix.package;
      serviceConfig = {
        ExecStart = lib.concatMapStringsSep " " quote (
          [
            "${cfg.package}/bin/nixvm-loop"
            "watch"
            "--output"
            "plain"
            "--config"
            value.config
          ]
          ++ lib.optionals (value.guest != null) [
            "--guest"
            value.guest
          ]
        );
        WorkingDirectory = escape (dirOf value.config);
        # A build or a boot that is under way ends in order, and that is no failure.
        KillMode = "mixed";
        KillSignal = "SIGINT";
        SuccessExitStatus = 130;
        TimeoutStopSec = 30;
        Restart = "on-failure";
        RestartSec = 5;
        # Usage and config: trying again does not help.
        RestartPreventExitStatus = 2;
      };
    };
  };
  # systemd takes a percent sign for a specifier, and in commands a dollar sign for a variable.
  escape = builtins.replaceStrings [ "%" ] [ "%%" ];
  # What libvirt runs for interfaces whose backend is passt, which it looks for in its PATH.
  passt = lib.optional (pkgs ? passt) pkgs.passt;
  quote = word: builtins.replaceStrings [ "$" ] [ "$$" ] (builtins.toJSON (escape word));
in
{
  _file = ./host-virtiofs.nix;

  options.keystone.virtualization.host.virtiofs = {
    enable = mkEnableOption "sharing the host's store with libvirt's guests by virtiofs";

    users = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "ann" ];
      description = "Who may use libvirt's system daemon: they become members of group libvirtd, which is as good as root.";
    };

    package = mkOption {
      type = types.nullOr types.package;
      default = pkgs.nixvm-loop or (pkgs.callPackage ./package.nix { });
      defaultText = lib.literalExpression "pkgs.nixvm-loop";
      description = "The nixvm-loop that is installed. Null installs none.";
    };

    virtiofsdPackage = mkOption {
      type = types.package;
      default = pkgs.virtiofsd;
      defaultText = lib.literalExpression "pkgs.virtiofsd";
      description = "The virtiofsd that libvirt starts. From 1.13 on it can share the store read-only.";
    };

    watch.projects = mkOption {
      type = types.attrsOf project;
      default = { };
      example = lib.literalExpression ''{ demo.config = "/home/ann/guest/nixvm-loop.toml"; }'';
      description = ''
        Projects for which `nixvm-loop watch` runs as a systemd user service, `nixvm-loop-watch-NAME`, from login to
        logout.
      '';
    };
  };

  config = mkIf cfg.enable (mkMerge [
    {
      virtualisation.libvirtd = {
        enable = true;
        # How libvirt finds virtiofsd for domains that name no binary.
        qemu.vhostUserPackages = [ cfg.virtiofsdPackage ];
        # A guest with a virtiofs share can neither be saved nor restored.
        onShutdown = mkDefault "shutdown";
      };

      assertions = [
        {
          assertion = config.virtualisation.libvirtd.onShutdown != "suspend";
          message = ''keystone.virtualization.host.virtiofs: virtualisation.libvirtd.onShutdown is "suspend", which fails for guests with a virtiofs share. Set it to "shutdown".'';
        }
        {
          assertion = cfg.watch.projects == { } || cfg.package != null;
          message = "keystone.virtualization.host.virtiofs: watch.projects needs a nixvm-loop, and package is null.";
        }
        {
          assertion = builtins.all (name: builtins.match "[A-Za-z0-9_.-]+" name != null) (
            builtins.attrNames cfg.watch.projects
          );
          message = "keystone.virtualization.host.virtiofs: the names of watch.projects become names of services: letters, digits, dots, dashes and underscores.";
        }
      ];
    }

    (optionalAttrs (has [
      "users"
      "groups"
    ]) { users.groups.libvirtd.members = cfg.users; })

    (optionalAttrs (has [
      "environment"
      "systemPackages"
    ]) { environment.systemPackages = lib.optional (cfg.package != null) cfg.package ++ passt; })

    (optionalAttrs (has [
      "systemd"
      "services"
    ]) { systemd.services.libvirtd.path = passt; })

    (optionalAttrs (has [
      "systemd"
      "user"
      "services"
    ]) { systemd.user.services = lib.mapAttrs' watch cfg.watch.projects; })
  ]);
}
