# Sourced by the boot and by the live switch: how services start and stop. A service is a shell script in a session of its own, what it says
# goes to the console. /run/services/NAME holds its process and its script, and its exit status as third word once it has ended.
# shellcheck shell=sh

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
