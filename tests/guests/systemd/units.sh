# Sourced by the live switch: which of systemd's units have to follow, and how, by the difference of two folders of units.
# shellcheck shell=sh disable=SC2034,SC2154  # the lists are for who sources this
PATH=$PATH:/usr/bin

# flag UNIT NAME DEFAULT: whether the new unit, or the last drop-in that speaks of it, says yes.
flag() {
  value=$3
  for file in "$new/$1" "$new/$1.d"/*.conf; do
    [ -f "$file" ] || continue
    while read -r line; do
      case $line in "$2="*) value=${line#*=} ;; esac
    done <"$file"
  done
  case $value in 1 | yes | true | on) return 0 ;; esac
  return 1
}

# states: of each unit that runs or failed its name, state and sub-state.
states() {
  systemctl list-units --all --full --plain --no-legend --state=active,activating,reloading,failed |
    while read -r name _ active sub _; do echo "$name $active $sub"; done
}

is_active() {
  case $active_units in *" $1 "*) return 0 ;; esac
  return 1
}

# changed UNIT: puts one that is active into a list.
changed() {
  is_active "$1" || return 0
  case " $seen " in *" $1 "*) return 0 ;; esac
  seen="$seen $1"
  case $1 in
  *.target | *.slice | *.path | *.socket) ;;
  -.mount | nix.mount | nix-*.mount) skipped="$skipped $1" ;;
  *)
    if flag "$1" X-ReloadIfChanged no; then
      reloaded="$reloaded $1"
    elif ! flag "$1" X-RestartIfChanged yes || flag "$1" RefuseManualStop no; then
      skipped="$skipped $1"
    elif flag "$1" X-StopIfChanged yes; then
      stopped="$stopped $1" started="$started $1"
    else
      restarted="$restarted $1"
    fi
    ;;
  esac
}

# differing KIND PATH: a file or a folder of the folders of units.
differing() {
  case $2 in
  *.wants/* | *.requires/* | *.wants | *.requires) ;;
  *.d/*) changed "${2%.d/*}" ;;
  *.d) changed "${2%.d}" ;;
  *)
    if [ "$1" = gone ]; then
      if is_active "$2"; then stopped="$stopped $2"; fi
    else
      changed "$2"
    fi
    ;;
  esac
}

# All active targets are started again: they bring what is new. Nothing is done when the units are the same and none has failed: each call of
# systemctl takes a good part of a second on an emulated processor.
plan_services() {
  stopped='' skipped='' reloaded='' restarted='' started='' targets='' seen='' active_units=' ' reset=''
  new=$(readlink -f @etc@/etc/systemd/system)
  old=$(readlink -f /etc/systemd/system)
  while read -r name state _; do
    if [ "$state" = failed ]; then reset=yes; else active_units="$active_units$name "; fi
  done <<END
$(states)
END
  while IFS= read -r line; do
    case $line in
    "Files $old/"*)
      path=${line#"Files $old/"}
      differing changed "${path%% *}"
      ;;
    "Only in $old"*)
      path=${line#"Only in $old"}
      path=${path%%:*}/${path#*: }
      differing gone "${path#/}"
      ;;
    "Only in $new"*)
      path=${line#"Only in $new"}
      path=${path%%:*}/${path#*: }
      differing new "${path#/}"
      ;;
    esac
  done <<END
$(diff -rq "$old" "$new")
END
  for name in $active_units; do
    case $name in
    *.target) [ ! -e "$new/$name" ] || flag "$name" RefuseManualStart no || targets="$targets $name" ;;
    esac
  done
}

stop_services() {
  [ $# = 0 ] || systemctl stop "$@"
}

refresh_services() {
  [ -z "$reset" ] || systemctl reset-failed
  [ "$old" = "$new" ] || systemctl daemon-reload
}

reload_services() {
  [ $# = 0 ] || systemctl reload "$@" || broken="$broken $*"
}

restart_services() {
  [ $# = 0 ] || systemctl restart "$@"
}

start_services() {
  # shellcheck disable=SC2086  # a list of words
  [ "$old$reset" = "$new" ] || systemctl start $targets "$@"
}

# failed_services NAME...: sets `failed` to all units that are. Some take a moment to fail.
failed_services() {
  failed='' fresh=''
  [ "$old$reset" != "$new" ] || return 0
  usleep 250000
  while read -r name state sub; do
    case "$state $sub $name" in
    failed*) failed="$failed $name" ;;
    *" auto-restart "*) [ "$(systemctl show -P ExecMainStatus "$name")" = 0 ] || failed="$failed $name" ;;
    *.scope) ;;
    *) is_active "$name" || fresh="$fresh $name" ;;
    esac
  done <<END
$(states)
END
  # shellcheck disable=SC2086
  say "the following new units were started" $fresh
}

explain_services() {
  [ $# = 0 ] || systemctl status --no-pager --full "$@" >&2
}
