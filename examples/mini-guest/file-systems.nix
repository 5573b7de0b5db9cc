# What fstab says: an edit here changes neither the kernel, nor its parameters, nor the initrd. The root and what is below /nix is mounted by
# stage-1.sh and never touched again; the others are mounted at boot, and a live switch follows their changes.
{
  "/" = { device = "tmpfs"; fsType = "tmpfs"; options = [ "mode=0755" ]; };
  "/nix/.ro-store" = { device = "nix-store-share"; fsType = "virtiofs"; options = [ "ro" ]; };
  "/nix/.rw-store" = { device = "tmpfs"; fsType = "tmpfs"; options = [ "mode=0755" ]; };
  "/nix/store" = {
    device = "overlay";
    fsType = "overlay";
    options = [ "lowerdir=/nix/.ro-store" "upperdir=/nix/.rw-store/upper" "workdir=/nix/.rw-store/work" ];
  };
  "/dev/shm" = { device = "tmpfs"; fsType = "tmpfs"; options = [ "mode=1777" "nosuid" ]; };
}
