# A live switch, in three parts: the store is looked at anew, the switch is started apart from this connection, and its
# output is followed to its end. Switch puts settings in front of it: token, mount_point, caches, system, folder, id,
# shown, and `part`, which is `begin`, `follow` or `stop`. It must suit any shell with POSIX's syntax.
# shellcheck shell=sh disable=SC2154,SC2016
PATH=$PATH:/run/current-system/sw/bin:/run/wrappers/bin:/usr/sbin:/usr/bin:/sbin:/bin

say() {
printf '%s %s\n' "$token" "$*"
}

# A path that was looked up before it was built, and a listing from then, stay as they were in the overlay until the
# kernel forgets them.
look_anew() {
{ echo 2 >"$caches"; } 2>/dev/null || say caches-kept
cd "$mount_point" || { say hidden "$mount_point" && return 1; }
hidden=0
for name; do
[ -e "$name" ] || [ -L "$name" ] || { hidden=1 && say hidden "$name"; }
done
cd /
return $hidden
}

# Neither the end of this connection nor that of sshd may end it.
set_off() {
[ -p "$folder/over" ] || { mkdir -p -m 700 "$folder" && mkfifo -m 600 "$folder/over"; } || return 1
cd "$folder" && : >"log-$id" || return 1
# In a file, since systemd would take a command line's dollars for its own. Opened for both, a pipe keeps nobody waiting.
printf '%s\n' 'echo $$ >"pid-$2"; "$1" test >"log-$2" 2>&1 </dev/null; echo $? >"status-$2"; echo over 1<>over' >run
if [ -d /run/systemd/system ]; then
systemd-run --quiet --collect --no-block --unit="nixvm-loop-switch-$id" --working-directory="$folder" -E NIXOS_NO_SYNC=1 \
/bin/sh "$folder/run" "$system/bin/switch-to-configuration" "$id" 2>&1
else
command -v setsid >/dev/null || { echo "there is no setsid" && return 1; }
NIXOS_NO_SYNC=1 setsid /bin/sh "$folder/run" "$system/bin/switch-to-configuration" "$id" </dev/null >/dev/null 2>&1 &
fi
}

stop() {
if [ -d /run/systemd/system ]; then
systemctl kill --signal=KILL "nixvm-loop-switch-$id.service" 2>&1
elif IFS= read -r pid <"$folder/pid-$id"; then
kill -KILL "-$pid" 2>&1
fi
}

follow() {
cd "$folder" || return 1
exec 4<>over
seen=0
part=
pid=
exec 3<"log-$id"
while :; do
over=
[ -n "$pid" ] || { [ -s "pid-$id" ] && IFS= read -r pid <"pid-$id"; }
[ -z "$pid" ] || kill -0 "$pid" 2>/dev/null || over=1
[ ! -s "status-$id" ] || over=1
while IFS= read -r line <&3; do
tell "$part$line"
part=
done
part=$part$line
[ -z "$over" ] || break
nap
done
[ -z "$part" ] || tell "$part"
if [ -s "status-$id" ]; then
IFS= read -r code <"status-$id"
say status "$code"
else
say died
fi
rm -f "log-$id" "pid-$id" "status-$id" </dev/null >/dev/null 2>&1 &
}

# Until it is over, or a while; a shell that cannot wait like that says 2. A process would take time from the switch.
nap() {
read -r -t 1 _ <&4 2>/dev/null
[ $? -ne 2 ] || sleep 0.1 2>/dev/null || sleep 1
}

tell() {
seen=$((seen + 1))
[ "$seen" -le "$shown" ] || say line "$1"
}

if [ "$part" = stop ]; then
stop
exit 0
fi
if [ "$part" = begin ]; then
look_anew "$@" || exit 0
say looked
set_off || { say unstarted && exit 0; }
fi
code=
follow
# Only after a switch that was done anything else is asked.
case $code in 0 | 4) ;; *) exit 0 ;; esac
