#!/bin/bash
# The parts of the guest that come from Debian's packages: kernel, modules, busybox, dropbear and its libraries.
#
#   assets.sh collect DIR          gathers them in DIR/assets (downloads the kernel's package; quick when that was done before)
#   assets.sh add DIR HASH_FILE    puts DIR/assets into the Nix store, writes its hash to HASH_FILE, prints the store path
#   assets.sh                      both, into the user's cache and assets.hash beside this script
#
# collect needs apt, kmod, busybox-static and dropbear-bin; add needs Nix.
set -euo pipefail
export LC_ALL=C

# Loaded by the initrd, in this order with what they depend on; then those that the system loads once sshd runs.
early_modules=(virtio_pci virtiofs overlay virtio_net)
late_modules=(virtio_blk button evdev virtio_rng pvpanic_mmio pvpanic_pci)

fail() {
  echo "assets.sh: $*" >&2
  exit 1
}

# What the collected files depend on, except the kernel: a newer one is taken when this script changes or DIR is removed.
stamp() {
  sha256sum <"$0"
  sha256sum </bin/busybox
  sha256sum </usr/sbin/dropbear
}

kernel_package() {
  apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends: linux-image/ { print $2; exit }'
}

# unpack_kernel DIR: the newest cloud kernel's package, unpacked into DIR. Sets release.
unpack_kernel() {
  local package
  package=$(kernel_package)
  if [[ -z $package ]]; then
    apt-get -qq update
    package=$(kernel_package)
  fi
  [[ -n $package ]] || fail "apt knows no linux-image-cloud-amd64; are the package sources of Debian configured?"
  release=${package#linux-image-}
  (cd "$1" && apt-get -qq -o APT::Sandbox::User=root download "$package" && dpkg-deb -x "$package"_*.deb .) ||
    { apt-get -qq update && cd "$1" && apt-get -qq -o APT::Sandbox::User=root download "$package" && dpkg-deb -x "$package"_*.deb .; } ||
    fail "$package cannot be downloaded"
  depmod -b "$1" "$release"
}

# module_files IMAGE MODULE...: the files of the modules and of what they need, in loading order, each once.
module_files() {
  local image=$1 module
  shift
  for module in "$@"; do modprobe -d "$image" -S "$release" --show-depends "$module"; done |
    awk '$1 == "insmod" && !seen[$2]++ { print $2 }'
}

copy_modules() {
  local image=$1 target=$2/lib/modules/$release file
  mkdir -p "$target"
  cp "$image/lib/modules/$release"/modules.{order,builtin,builtin.modinfo} "$target/"
  module_files "$image" "${early_modules[@]}" "${late_modules[@]}" | while read -r file; do
    install -D -m 644 "$file" "$target/${file#"$image/lib/modules/$release/"}"
  done
  module_files "$image" "${early_modules[@]}" | sed "s|^$image||" >"$2/early-modules"
  printf '%s\n' "${late_modules[@]}" >"$2/late-modules"
  depmod -b "$2" "$release"
}

copy_programs() {
  local applet library
  mkdir -p "$1/bin" "$1/libc"
  install -m 755 /bin/busybox "$1/bin/busybox"
  for applet in $(/bin/busybox --list); do
    [[ $applet == busybox ]] || ln -s busybox "$1/bin/$applet"
  done
  install -m 755 /usr/sbin/dropbear "$1/bin/dropbear"
  install -m 755 "$(readlink -f /usr/bin/dropbearkey)" "$1/bin/dropbearkey"
  for library in $(ldd /usr/sbin/dropbear | grep -o '/lib[^ ]*'); do
    install -m 755 "$(readlink -f "$library")" "$1/libc/${library##*/}"
  done
}

collect() {
  local dir=$1 work
  if [[ -f $dir/stamp && $(<"$dir/stamp") == "$(stamp)" ]]; then return; fi
  [[ -x /bin/busybox && -x /usr/sbin/dropbear ]] || fail "busybox-static and dropbear-bin are not installed"
  mkdir -p "$dir"
  work=$(mktemp -d)
  # shellcheck disable=SC2064  # the path of now
  trap "rm -rf '$work'" EXIT
  unpack_kernel "$work"
  rm -rf "$dir/stamp" "$dir/assets"
  mkdir "$dir/assets"
  install -m 644 "$work/boot/vmlinuz-$release" "$dir/assets/bzImage"
  copy_modules "$work" "$dir/assets"
  copy_programs "$dir/assets"
  stamp >"$dir/stamp"
}

add() {
  [[ -d $1/assets ]] || fail "nothing was collected in $1"
  nix-store --add-fixed --recursive sha256 "$1/assets"
  nix --extra-experimental-features nix-command hash path --type sha256 "$1/assets" | tr -d '\n' >"$2"
}

case ${1-} in
collect) collect "$2" ;;
add) add "$2" "$3" ;;
'')
  cache=${XDG_CACHE_HOME:-$HOME/.cache}/nixvm-loop/mini-guest
  collect "$cache"
  add "$cache" "$(dirname "$0")/assets.hash"
  ;;
*) fail "usage: assets.sh [collect DIR | add DIR HASH_FILE]" ;;
esac
