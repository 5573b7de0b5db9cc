#!/bin/sh
# Makes this system the running one without a boot. It is used, and answers, as NixOS's program of this name:
# 0 done; 1 cannot; 2 the activation failed; 4 done, but some services or mounts failed; 100 this takes a boot.
# shellcheck disable=SC1091  # the paths are filled in
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

# The planned lists are lists of words.
# shellcheck disable=SC2046,SC2086,SC2154
foretell() {
  say "would stop the following units" $stopped $(units $unmount)
  say "would NOT restart the following changed units" $skipped $(units $untouched)
  echo "would activate the configuration..." >&2
  say "would reload the following units" $reloaded $(units $remount)
  say "would restart the following units" $restarted
  say "would start the following units" $(units $mount) $started
}

# on_mounts COMMAND POINT...: runs it for each, remembers those for which it fails.
on_mounts() {
  command=$1
  shift
  for point; do $command "$point" || broken="$broken $(unit "$point")"; done
}

# shellcheck disable=SC2046,SC2086,SC2154
act() {
  code=0 broken=
  say "stopping the following units" $stopped $(units $unmount)
  stop_services $stopped
  on_mounts umount $unmount
  say "NOT restarting the following changed units" $skipped $(units $untouched)
  echo "activating the configuration..." >&2
  (. @out@/activate) || { echo "Failed to run activate script" >&2; code=2; }
  refresh_services
  say "reloading the following units" $reloaded $(units $remount)
  reload_services $reloaded
  on_mounts remount $remount
  say "restarting the following units" $restarted
  restart_services $restarted
  say "starting the following units" $(units $mount) $started
  on_mounts mount_new $mount
  start_services $started
  failed_services $restarted $started
  [ -z "$broken$failed" ] || code=4
  say "warning: the following units failed" $broken $failed
  explain_services $failed
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
. @out@/services
. @mounts@
plan_services
plan_mounts /etc/fstab @etc@/etc/fstab
if [ "$1" = dry-activate ]; then
  foretell
else
  act
  exit "$code"
fi
