# Sourced by the boot and by the live switch: the guest's services. Each is a shell script in a session of its own, what it says goes to the
# console. /run/services/NAME holds its process and its script, and its exit status as third word once it has ended.
# shellcheck shell=sh disable=SC2034  # the lists are for who sources this

# start NAME SCRIPT
start() {
  echo "0 $2" >"/run/services/$1"
  {
    trap - HUP PIPE
    PATH=/run/current-system/sw/bin
    exec setsid sh @supervise@ "$1" "$2"
  } </dev/null >/dev/console 2>&1 &
}

# await NAME: sets `pid` when the service that was started has a process, in five seconds at most.
await() {
  patience=100
  while read -r pid _ <"/run/services/$1" && [ "$pid" = 0 ] && [ $patience -gt 0 ]; do
    patience=$((patience - 1))
    usleep 50000
  done
}

# stop NAME: asks it and all that it started to end, and insists after two seconds.
stop() {
  await "$1"
  patience=40
  while [ "$pid" != 0 ] && kill -0 "-$pid" 2>/dev/null; do
    case $patience in
    40) kill -TERM "-$pid" ;;
    0) kill -KILL "-$pid" ;;
    esac
    patience=$((patience - 1))
    usleep 50000
  done
  rm -f "/run/services/$1"
}

# From here on: what switch-to-configuration asks of those who know about services.

# A service that failed is started again. sshd answers before the boot has come to the services.
plan_services() {
  until [ -e /run/nixos/booted ]; do usleep 50000; done
  stopped='' skipped='' reloaded='' restarted='' started=''
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

stop_services() {
  for name; do stop "$name"; done
}

refresh_services() {
  :
}

reload_services() {
  :
}

restart_services() {
  stop_services "$@"
  start_services "$@"
}

start_services() {
  for name; do start "$name" "$(readlink "@etc@/etc/service/$name")"; done
}

# failed_services NAME...: sets `failed` to those that ended badly within 0.3 s of their start.
failed_services() {
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

explain_services() {
  :
}
