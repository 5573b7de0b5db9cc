# The whole loop within a machine: create, verify, an edit that boots, one that does not build. It needs nested KVM.
{
  lib,
  nixpkgs,
  package,
  runCommand,
  stdenv,
  testers,
  writeText,
}:
let
  system = stdenv.hostPlatform.system;

  # Nothing is downloaded in there, so what the loop builds exists already: the same files give the same derivations.
  flake = writeText "flake.nix" ''
    {
      inputs.nixpkgs.url = "path:${nixpkgs}";
      outputs = { self, nixpkgs }: {
        nixosConfigurations.demo = import (nixpkgs + "/nixos/lib/eval-config.nix") {
          system = "${system}";
          modules = [ ./guest-virtiofs.nix ./guest.nix ./message.nix ];
        };
      };
    }
  '';
  message = text: writeText "message.nix" ''{ environment.etc.message.text = "${text}"; }'';
  project = runCommand "project" { } ''
    mkdir $out
    cp ${../guest-virtiofs.nix} $out/guest-virtiofs.nix
    cp ${../guest-checks.nix} $out/guest-checks.nix
    cp ${../guest-ssh.nix} $out/guest-ssh.nix
    cp ${../template/guest.nix} $out/guest.nix
    cp ${../template/nixvm-loop.toml} $out/nixvm-loop.toml
    cp ${flake} $out/flake.nix
    cp ${message "first"} $out/message.nix
  '';
  built =
    text:
    (import (nixpkgs + "/nixos/lib/eval-config.nix") {
      inherit system;
      modules = [
        ../guest-virtiofs.nix
        ../template/guest.nix
        (message text)
      ];
    }).config.system.build.toplevel;
in
testers.runNixOSTest {
  name = "nixvm-loop";

  nodes.host = {
    imports = [ ../host-virtiofs.nix ];
    keystone.virtualization.host.virtiofs = {
      enable = true;
      package = lib.mkForce package;
    };
    nix.settings = {
      experimental-features = [
        "nix-command"
        "flakes"
      ];
      substituters = lib.mkForce [ ];
    };
    virtualisation = {
      cores = 2;
      memorySize = 6144;
      diskSize = 8192;
      writableStore = true;
      additionalPaths = [
        (built "first")
        (built "second")
        "${nixpkgs}"
        project
      ];
      qemu.options = [ "-cpu host" ];
    };
  };

  testScript = ''
    host.wait_for_unit("multi-user.target")
    host.wait_for_unit("libvirtd.socket")
    host.succeed("cp -r ${project} /root/guest && chmod -R u+w /root/guest")
    host.succeed("cd /root/guest && git init -q && git add -A && nix flake lock && git add -A")

    def loop(command):
        return f"cd /root/guest && nixvm-loop {command}"

    with subtest("a guest is made, boots, and is what was built"):
        host.succeed(loop("create --start >&2"))
        host.succeed(loop("verify >&2"))
        assert host.succeed(loop("ssh cat /etc/message")) == "first"

    with subtest("Nix in the guest works"):
        host.succeed(loop("ssh nix-store --verify >&2"))

    with subtest("an edit is built, booted and proved"):
        host.succeed("cp ${message "second"} /root/guest/message.nix")
        host.succeed(loop("rebuild >&2"))
        assert host.succeed(loop("ssh cat /etc/message")) == "second"

    with subtest("what does not build changes nothing"):
        host.succeed("echo '{ x = ; }' > /root/guest/message.nix")
        status, _ = host.execute(loop("rebuild >&2"))
        assert status == 3, status
        assert host.succeed(loop("ssh cat /etc/message")) == "second"
  '';
}
