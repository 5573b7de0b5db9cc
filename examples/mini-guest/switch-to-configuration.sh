#!/bin/sh
# Makes this system the running one without a boot. It is used, and answers, as NixOS's program of this name:
# 0 done; 1 cannot; 2 the activation failed; 4 done, but some services or mounts failed; 100 this takes a boot.
PATH=@assets@/bin
export PATH
lock=/run/nixos/switch-to-configuration.lock

usage() {
  cat >&2 <<END
Usage: ${0##*/} [check|switch|boot|test|dry-activate]
check:        says whether this system could be switched to
switch, test: makes this system the running one
boot:         does nothing: what boots is for the host to say
dry-activate: says what a switch would do
END
  exit 1
}

# The lock holds its owner's process; one whose owner is gone is none.
acquire() {
  for _ in 1 2; do
    if (set -C; echo $$ >"$lock") 2>/dev/null; then
      trap 'rm -f "$lock"' EXIT
      return
    fi
    holder=
    read -r holder <"$lock"
    [ ! -d "/proc/${holder:-self}" ] || break
    rm -f "$lock"
  done
  echo "Could not acquire lock" >&2
  exit 1
}

# say TEXT NAME...: nothing if there are no names.
say() {
  text=$1
  shift
  [ $# -gt 0 ] || return 0
  names=$1
  shift
  for name; do names="$names, $name"; done
  echo "$text: $names" >&2
}

# units POINT...
units() {
  for point; do unit "$point"; done
}

# Sets `stopped`, `restarted` and `started` to names. A service that failed is started again.
plan_services() {
  stopped='' restarted='' started=''
  for state in /run/services/*; do
    [ -f "$state" ] || continue
    name=${state##*/}
    read -r _ script status <"$state"
    if [ ! -L "@etc@/etc/service/$name" ]; then
      stopped="$stopped $name"
    elif [ "$(readlink "@etc@/etc/service/$name")" != "$script" ]; then
      restarted="$restarted $name"
    elif [ "${status:-0}" != 0 ]; then
      started="$started $name"
    fi
  done
  for script in @etc@/etc/service/*; do
    name=${script##*/}
    [ ! -L "$script" ] || [ -f "/run/services/$name" ] || started="$started $name"
  done
}

# failures NAME...: sets `failed` to those that ended badly within 0.3 s of their start.
failures() {
  failed=
  [ $# -gt 0 ] || return 0
  for name; do await "$name"; done
  usleep 300000
  for name; do
    status=
    read -r _ _ status <"/run/services/$name"
    [ "${status:-0}" = 0 ] || failed="$failed $name"
  done
}

# The planned lists are lists of words.
# shellcheck disable=SC2046,SC2086
foretell() {
  say "would stop the following units" $stopped $(units $unmount)
  say "would NOT restart the following changed units" $(units $untouched)
  echo "would activate the configuration..." >&2
  say "would reload the following units" $(units $remount)
  say "would restart the following units" $restarted
  say "would start the following units" $(units $mount) $started
}

# shellcheck disable=SC2046,SC2086
act() {
  code=0 broken=
  say "stopping the following units" $stopped $(units $unmount)
  for name in $stopped; do stop "$name"; done
  for point in $unmount; do umount "$point" || broken="$broken $(unit "$point")"; done
  say "NOT restarting the following changed units" $(units $untouched)
  echo "activating the configuration..." >&2
  (. @out@/activate) || { echo "Failed to run activate script" >&2; code=2; }
  say "reloading the following units" $(units $remount)
  for point in $remount; do mount_entry /etc/fstab "$point" remount || broken="$broken $(unit "$point")"; done
  say "restarting the following units" $restarted
  for name in $restarted; do stop "$name"; done
  say "starting the following units" $(units $mount) $started
  for point in $mount; do mount_entry /etc/fstab "$point" || broken="$broken $(unit "$point")"; done
  for name in $restarted $started; do start "$name" "$(readlink "@etc@/etc/service/$name")"; done
  failures $restarted $started
  say "warning: the following units failed" $broken $failed
  [ -z "$broken$failed" ] || code=4
}

case ${1-} in
check | switch | boot | test | dry-activate) ;;
*) usage ;;
esac
acquire
case $1 in check | boot) exit 0 ;; esac

read -r running </run/current-system/init-interface-version || [ -n "$running" ] || running=unknown
read -r new <@out@/init-interface-version || [ -n "$new" ]
if [ "$running" != "$new" ]; then
  echo "Warning: the init of the new system ($new) does not fit the running one ($running): it takes a boot to get there." >&2
  exit 100
fi

# Who started us may be gone before the end.
trap '' HUP PIPE
. @services@
. @mounts@
# sshd answers before the boot's end.
until [ -e /run/nixos/booted ]; do usleep 50000; done
plan_services
plan_mounts /etc/fstab @etc@/etc/fstab
if [ "$1" = dry-activate ]; then
  foretell
else
  act
  exit "$code"
fi
