# Sourced inside a world: the environment of whoever works there. `world` is the world's folder.
# shellcheck shell=bash

# Nothing of the caller's own Nix, libvirt, Python or desktop reaches in.
for variable in $(compgen -e); do
  case $variable in
  NIX_SSL_CERT_FILE) ;;
  NIX_* | NIXVM_LOOP_* | LIBVIRT_* | VIRSH_* | XDG_* | DBUS_* | PYTHON* | VIRTUAL_ENV | SSH_*) unset "$variable" ;;
  esac
done
export PATH=/run/nixvm-loop/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# shellcheck disable=SC2154  # set by who sources this
export HOME=$world/home/root TMPDIR=$world/tmp
NIXVM_LOOP_WORLD=$(<"$world/host")
export NIXVM_LOOP_WORLD NIXVM_LOOP_REPO=/run/nixvm-loop/repo
