#!/bin/bash
# The userland of the guest: Debian 13's systemd, D-Bus, OpenSSH and Nix. Kernel, initrd and busybox are the mini guest's.
#
#   assets.sh collect DIR          makes DIR/userland (20 s, 100 MB; quick when that was done before)
#   assets.sh add DIR HASH_FILE    puts DIR/userland into the Nix store, writes its hash to HASH_FILE, prints the store path
#
# collect needs mmdebstrap and root; add needs Nix.
set -euo pipefail
export LC_ALL=C

# What comes with these, the essential packages, is needed as well: sulogin is util-linux's.
packages=(systemd systemd-sysv dbus openssh-server kmod nix-bin)
# Never used in the guest. Store paths know no modes but 0444 and 0555 and no owner but root, so host keys are made at boot.
unused=(boot dev home media mnt opt proc root run srv sys tmp var etc/ssh usr/include usr/local usr/share/{doc,info,locale,man,perl5,zoneinfo,bug,lintian,bash-completion}
  usr/share/{i18n,zsh,pixmaps,polkit-1,base-passwd,debconf,common-licenses} usr/lib/{apt,dpkg,udev/hwdb.bin,udev/hwdb.d}
  usr/lib/systemd/catalog usr/lib/x86_64-linux-gnu/{perl-base,gconv} usr/share/{dpkg,perl})

fail() {
  echo "assets.sh: $*" >&2
  exit 1
}

collect() {
  local dir=$1 work stamp
  stamp=$(sha256sum <"$0")
  if [[ -f $dir/stamp && $(<"$dir/stamp") == "$stamp" ]]; then return; fi
  command -v mmdebstrap >/dev/null || fail "mmdebstrap is not installed"
  mkdir -p "$dir"
  work=$(mktemp -d -p "$dir")
  # shellcheck disable=SC2064  # the path of now
  trap "rm -rf --one-file-system '$work'" EXIT
  chmod 0755 "$work"
  mmdebstrap --quiet --variant=essential --include="$(IFS=,; echo "${packages[*]}")" trixie "$work/userland" ||
    fail "Debian 13 cannot be unpacked; is its mirror reachable, is its key in /usr/share/keyrings?"
  (cd "$work/userland" && rm -rf --one-file-system "${unused[@]}")
  rm -rf "$dir/stamp" "$dir/userland"
  mv "$work/userland" "$dir/userland"
  echo "$stamp" >"$dir/stamp"
}

add() {
  [[ -d $1/userland ]] || fail "nothing was collected in $1"
  nix-store --add-fixed --recursive sha256 "$1/userland"
  nix --extra-experimental-features nix-command hash path --type sha256 "$1/userland" | tr -d '\n' >"$2"
}

case ${1-} in
collect) collect "$2" ;;
add) add "$2" "$3" ;;
*) fail "usage: assets.sh collect DIR | add DIR HASH_FILE" ;;
esac
