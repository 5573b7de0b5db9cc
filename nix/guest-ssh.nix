# How nixvm-loop gets into the guest: with a key that comes with the domain, to a host key that the console tells.
{
  config,
  lib,
  options,
  ...
}:
let
  inherit (lib) mkIf mkOption types;

  parent = config.keystone.virtualization.guest.virtiofs;
  cfg = parent.ssh;
  has = path: lib.hasAttrByPath path options;
  credential = "ssh.authorized_keys.root";
  # Below /run: a key that the host hands over counts for this boot.
  keys = "/run/nixvm-loop/authorized_keys.d";
  # The kernel takes the port's settings after a comma.
  console = if parent.console == null then "console" else lib.head (lib.splitString "," parent.console);
  # In newer NixOS a unit of its own makes the keys, if they are wanted; in older, sshd does so just before it listens.
  keygen = "sshd-keygen.service";
  madeByNixos = has [
    "services"
    "openssh"
    "generateHostKeys"
  ];
  # The server that there is, or the one that systemd starts for each connection.
  server = if config.services.openssh.startWhenNeeded or false then "sshd@" else "sshd";
  units = [
    "nixvm-loop-ssh-key.service"
  ]
  ++ lib.optional cfg.announceHostKeys "nixvm-loop-host-keys.service";
  oneshot = {
    wantedBy = [ "multi-user.target" ];
    serviceConfig = {
      Type = "oneshot";
      RemainAfterExit = true;
    };
  };
in
{
  options.keystone.virtualization.guest.virtiofs.ssh = {
    enable = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Whether there is an SSH server that lets root in with the key that nixvm-loop hands over with the domain, as
        the systemd credential `${credential}`. The guest's configuration holds no key.
      '';
    };

    announceHostKeys = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Whether the guest writes its host keys to its console before its SSH server listens
        (`nixvm-loop-host-key: TYPE KEY`), so that nobody else can be taken for it, even with new keys at each boot.
      '';
    };
  };

  config = mkIf (parent.enable && cfg.enable) (
    lib.optionalAttrs
      (
        has [
          "services"
          "openssh"
        ]
        && has [
          "systemd"
          "services"
        ]
      )
      {
        # The manager imports the credential from what the kernel shows of SMBIOS, in the first stage already.
        boot.initrd.availableKernelModules = [ "dmi_sysfs" ];

        services.openssh = {
          enable = lib.mkDefault true;
          authorizedKeysFiles = [ "${keys}/%u" ];
          # A root on tmpfs has new keys at each boot, and an RSA key takes seconds to make.
          hostKeys = lib.mkDefault [
            {
              type = "ed25519";
              path = "/etc/ssh/ssh_host_ed25519_key";
            }
          ];
        };

        systemd.services = mkIf config.services.openssh.enable {
          ${server} = {
            wants = units;
            after = units;
          };

          nixvm-loop-ssh-key = lib.recursiveUpdate oneshot {
            description = "Let root in with the key that came with the domain";
            serviceConfig.ImportCredential = credential;
            script = ''
              key=''${CREDENTIALS_DIRECTORY:-/nonexistent}/${credential}
              if [ -s "$key" ]; then
                mkdir -p ${keys}
                cat "$key" > ${keys}/root
                chmod 0600 ${keys}/root
              else
                echo "the domain handed over no key (the SMBIOS string io.systemd.credential:${credential})" >&2
              fi
            '';
          };

          nixvm-loop-host-keys = mkIf cfg.announceHostKeys (
            lib.recursiveUpdate oneshot {
              description = "Tell the host keys on the console";
              wants = [ keygen ];
              after = [ keygen ];
              path = [ config.services.openssh.package ];
              script = lib.concatMapStrings (
                key:
                lib.optionalString (!madeByNixos) ''
                  if ! [ -s ${lib.escapeShellArg key.path} ]; then
                    mkdir -m 0755 -p "$(dirname ${lib.escapeShellArg key.path})"
                    ssh-keygen -q -t ${lib.escapeShellArg key.type} -N "" -f ${lib.escapeShellArg key.path}
                  fi
                ''
                + ''
                  if told=$(ssh-keygen -y -f ${lib.escapeShellArg key.path}); then
                    read -r type key _ <<< "$told"
                    # A prompt may stand on the console: the line begins with a line of its own.
                    printf '\nnixvm-loop-host-key: %s %s\n' "$type" "$key" > /dev/${console}
                  fi
                ''
              ) config.services.openssh.hostKeys;
            }
          );
        };
      }
  );
}
