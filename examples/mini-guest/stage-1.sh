#!/bin/sh
# The initrd's init: an edit here changes the initrd. It mounts the store from the host with a layer to write on, and hands over to init=.
export PATH=/bin

fail() {
  echo "stage-1: $*" >/dev/console
  exit 1 # ends pid 1, so the kernel panics
}

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in /modules/*; do insmod "$module" || echo "stage-1: $module cannot be loaded"; done

mount -t tmpfs -o mode=0755 tmpfs /sysroot
mkdir -p /sysroot/proc /sysroot/sys /sysroot/dev /sysroot/nix/store /sysroot/nix/.ro-store /sysroot/nix/.rw-store
mount -t virtiofs -o ro nix-store-share /sysroot/nix/.ro-store || fail "the share nix-store-share cannot be mounted"
mount -t tmpfs -o mode=0755 tmpfs /sysroot/nix/.rw-store
mkdir /sysroot/nix/.rw-store/upper /sysroot/nix/.rw-store/work
mount -t overlay -o lowerdir=/sysroot/nix/.ro-store,upperdir=/sysroot/nix/.rw-store/upper,workdir=/sysroot/nix/.rw-store/work overlay \
  /sysroot/nix/store || fail "the overlay cannot be mounted"

init=
# shellcheck disable=SC2013  # words it shall be
for word in $(cat /proc/cmdline); do
  case $word in init=*) init=${word#init=} ;; esac
done
mount -o move /proc /sysroot/proc
mount -o move /sys /sysroot/sys
mount -o move /dev /sysroot/dev
exec switch_root /sysroot "$init"
