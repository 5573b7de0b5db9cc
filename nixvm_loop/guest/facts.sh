# Tells what runs in this guest. FactsRequest puts settings in front of it: token, nonce, asked, mount_point, ro_store, rw_store and, as
# positional parameters, the store paths to look for. The login shell reads it, so it must suit any shell with POSIX's
# syntax. Whatever fails leaves its section empty: the reader knows what that means. Starting a process takes 30 ms
# and more on an emulated processor, so the shell itself does what it can, and what it cannot is done side by side.
# shellcheck shell=sh disable=SC2154,SC2016,SC2034
PATH=$PATH:/run/current-system/sw/bin:/run/wrappers/bin:/usr/sbin:/usr/bin:/sbin:/bin

section() {
printf '\n%s %s\n' "$token" "$1"
}

first_line() {
section "$1"
line=
{ IFS= read -r line <"$2" || [ -n "$line" ]; } 2>/dev/null && printf '%s\n' "$line"
}

led_to() {
section "$1"
cd -P "$2" 2>/dev/null && pwd -P
}

# Those who listen stand first in the kernel's table.
listeners() {
{ while read -r slot here there state rest; do
case $state in
st) ;;
0A) printf '%s\n' "$here" ;;
*) break ;;
esac
done <"$1"; } 2>/dev/null && echo "told $1"
}

# The share itself shows what the overlay hides; what was replaced under the overlay is stale to it.
unseen() {
kind=absent
if [ -e "$ro_store/$1" ] || [ -L "$ro_store/$1" ]; then
kind=hidden
case $(LC_ALL=C ls -d "$1" 2>&1) in *[Ss]tale*) kind=stale ;; esac
fi
printf '%s %s\n' $kind "$1"
}

look_around() {
first_line boot-id /proc/sys/kernel/random/boot_id
first_line uptime /proc/uptime
first_line cmdline /proc/cmdline
first_line release /proc/sys/kernel/osrelease
led_to booted /run/booted-system
led_to current /run/current-system
section nix
command -v nix-store 2>/dev/null
section who
if [ -O /proc/1 ]; then echo root; else echo user; fi
section mounts
while IFS= read -r line; do printf '%s\n' "$line"; done </proc/self/mountinfo
section listens
printf 'by %s\n' "$SSH_CONNECTION"
listeners /proc/net/tcp
listeners /proc/net/tcp6
section missing
if cd "$mount_point"; then
for name; do [ -e "$name" ] || [ -L "$name" ] || unseen "$name"; done
echo "looked-for $#"
fi
}

space() {
stat -f -c 'space %S %b %f %a %c %d' "$rw_store" 2>/dev/null || echo "space failed $?"
}

# A running NixOS has mounted the store read-only over its overlay; only a copy of the mounts is changed here. What an
# earlier probe left that was cut short goes with this one's.
write_probe() {
probe=$mount_point/.nixvm-loop-$nonce
said=$(unshare -m sh -c 'mount -o remount,rw,bind "$1" || exit $(($? == 127 ? 127 : 3))
{ true >"$2"; } || exit 4
rm -f "$1"/.nixvm-loop-* && [ ! -e "$2" ] || exit 5' sh "$mount_point" "$probe" 2>&1)
printf 'write %s %s\n' $? "$said"
}

tell_probes() {
section probes
printf '%s\n' "$probed"
section units
if [ -d /run/systemd/system ]; then
state=$(systemctl is-system-running 2>/dev/null)
echo "state $state"
case $state in
initializing | starting) ;;
*) systemctl list-units --state=failed --plain --full --no-legend --no-pager ;;
esac
fi
section end
}

if [ "$asked" = once ]; then
exec 3>&1
probed=$(
space &
write_probe &
look_around "$@" >&3
wait
)
tell_probes
else
section ready
while IFS= read -r word; do
case $word in
facts)
hash -r
look_around
section told
cd /
;;
probes)
probed=$(
space &
write_probe &
wait
)
tell_probes
exit
;;
esac
done
fi
