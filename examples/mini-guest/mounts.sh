# Sourced by the live switch: what has to be mounted anew, by the difference of two fstabs. The root and the store's mounts are never touched.
# shellcheck shell=sh disable=SC3060  # busybox's shell knows ${name//}

# entry FILE POINT: sets `found` to what the file says of the mount point, `device type options`.
entry() {
  found=
  while read -r device point type options _; do
    if [ "$point" = "$2" ] && [ "$device" != "#" ]; then found="$device $type $options"; fi
  done <"$1"
}

# unit POINT: systemd's name for it.
unit() {
  name=${1#/}
  name=${name//-/\\x2d}
  echo "${name//\//-}.mount"
}

# plan_mounts OLD NEW: sets `unmount`, `remount`, `mount` and `untouched` to mount points.
plan_mounts() {
  unmount='' remount='' mount='' untouched=''
  while read -r device here type options _; do
    [ "$device" != "#" ] || continue
    old="$device $type $options"
    entry "$2" "$here"
    case $here in
    / | /nix | /nix/*) [ "$found" = "$old" ] || untouched="$untouched $here" ;;
    *)
      if [ -z "$found" ]; then
        unmount="$unmount $here"
      elif [ "${found% *}" != "${old% *}" ]; then
        unmount="$unmount $here" mount="$mount $here"
      elif [ "$found" != "$old" ]; then
        remount="$remount $here"
      fi
      ;;
    esac
  done <"$1"
  while read -r device here _; do
    [ "$device" != "#" ] || continue
    entry "$1" "$here"
    case $here in
    / | /nix | /nix/*) ;;
    *) [ -n "$found" ] || mount="$mount $here" ;;
    esac
  done <"$2"
}

# mount_new POINT, remount POINT: as fstab says.
mount_new() {
  entry /etc/fstab "$1"
  read -r device type options <<END
$found
END
  mkdir -p "$1"
  mount -t "$type" -o "${2:+$2,}$options" "$device" "$1"
}

remount() {
  mount_new "$1" remount
}
