#!/bin/sh
# The system's init. Order: what sshd needs, sshd, everything else. Starting a program from the share costs time, so there are few.
export PATH=@assets@/bin

fail() {
  echo "stage-2: $*" >/dev/console
  exit 1 # ends pid 1, so the kernel panics
}

# What halt, poweroff and reboot ask of pid 1, by its signals.
down() {
  kill -TERM -1
  "$1" -f
}
trap 'down halt' USR1
trap 'down poweroff' USR2
trap 'down reboot' TERM

mount -o bind /nix/store /nix/store
mount -o remount,ro,bind /nix/store
cp -dR @skeleton@/. /
cp -dR @etc@/links/. /etc
ln -s @out@ /run/current-system
ln -s @out@ /run/booted-system
export PATH=/run/current-system/sw/bin

# The address comes by DHCP while the rest goes on: SLIRP and passt give different ones.
udhcpc -i eth0 -q -t 20 -T 1 -A 1 -s /etc/udhcpc.script >/dev/null 2>&1 &

# Who may log in: the credentials that the host put into SMBIOS's OEM strings, each a C string after the entry's header.
cat /sys/firmware/dmi/entries/11-*/raw | tr '\0' '\n' | while IFS= read -r text; do
  case $text in
  *io.systemd.credential:ssh.authorized_keys.root=*) echo "${text#*=}" ;;
  *io.systemd.credential.binary:ssh.authorized_keys.root=*) echo "${text#*=}" | base64 -d ;;
  esac
done >/root/.ssh/authorized_keys

[ ! -s @activation@ ] || sh -e @activation@ || echo "stage-2: the configuration's activation failed" >/dev/console
[ ! -s @startup@ ] || sh -e @startup@ || fail "startup failed"

dropbearkey -t ed25519 -f /run/host-key 2>/dev/null | while read -r type key _; do
  [ "$type" != ssh-ed25519 ] || echo "nixvm-loop-host-key: $type $key" >/dev/console
done
dropbear -r /run/host-key -E -s -p 22 2>/var/log/sshd

# From here on nobody waits for us, and who logs in goes first.
renice -n 10 -p $$ >/dev/null
while read -r module; do modprobe "$module"; done <@assets@/late-modules
acpid -d >/dev/null 2>&1 &
mkdir /dev/pts
mount -t devpts devpts /dev/pts
while read -r device point type options _; do
  case $device$point in
  '#'* | */ | */nix/*) continue ;;
  esac
  mkdir -p "$point"
  mount -t "$type" -o "$options" "$device" "$point"
done </etc/fstab
chmod 1777 /tmp
chmod 0700 /root
ip link set lo up
renice -n 0 -p $$ >/dev/null
# shellcheck source=/dev/null
. @out@/services
for script in @etc@/etc/service/*; do
  [ ! -L "$script" ] || start "${script##*/}" "$(readlink "$script")"
done
: >/run/nixos/booted

# Pid 1 stays: it reaps orphans, and its traps run when a sleep ends or a signal comes.
while :; do
  sleep 86400 &
  wait $!
done
