# A live switch, in three parts: the store is looked at anew, the switch is started apart from this connection, and its
# output is followed to its end. Switch puts settings in front of it: token, mount_point, caches, system, folder, unit,
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
rm -rf "$folder" && mkdir -p -m 700 "$folder" && cd "$folder" && : >log || return 1
# In a file, since systemd would take a command line's dollars for its own.
printf '%s\n' 'echo $$ >pid; "$1" test >log 2>&1 </dev/null; echo $? >status' >run
if [ -d /run/systemd/system ]; then
systemd-run --quiet --collect --no-block --unit="$unit" --working-directory="$folder" -E NIXOS_NO_SYNC=1 \
/bin/sh "$folder/run" "$system/bin/switch-to-configuration" 2>&1
else
command -v setsid >/dev/null || { echo "there is no setsid" && return 1; }
NIXOS_NO_SYNC=1 setsid /bin/sh "$folder/run" "$system/bin/switch-to-configuration" </dev/null >/dev/null 2>&1 &
fi
}

stop() {
if [ -d /run/systemd/system ]; then
systemctl kill --signal=KILL "$unit.service" 2>&1
elif IFS= read -r pid <"$folder/pid"; then
kill -KILL "-$pid" 2>&1
fi
}

follow() {
cd "$folder" || return 1
seen=0
part=
pid=
exec 3<log
while :; do
over=
[ -n "$pid" ] || { [ -s pid ] && IFS= read -r pid <pid; }
[ -z "$pid" ] || kill -0 "$pid" 2>/dev/null || over=1
[ ! -s status ] || over=1
while IFS= read -r line <&3; do
tell "$part$line"
part=
done
part=$part$line
[ -z "$over" ] || break
sleep 0.1 2>/dev/null || sleep 1
done
[ -z "$part" ] || tell "$part"
if [ -s status ]; then
IFS= read -r code <status
say status "$code"
else
say died
fi
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
follow
