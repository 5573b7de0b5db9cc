#!/bin/sh
# Makes a root for systemd out of the store, as NixOS's activation does, and hands over to it.
export PATH=@assets@/bin

mount -o bind /nix/store /nix/store
mount -o remount,ro,bind /nix/store
cp -dR @skeleton@/. /
cp -dR @etc@/links/. /etc
chmod 0600 /etc/shadow
chmod 0700 /root
chmod 0600 /etc/ssh/ssh_host_ed25519_key
tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id
# Now: what is in /usr before the userland covers it is for this alone.
while read -r module; do modprobe "$module"; done <@assets@/late-modules
mount -o bind @userland@/usr /usr
mount -t tmpfs -o mode=0755,nodev,nosuid tmpfs /run
ln -s @out@ /run/current-system
ln -s @out@ /run/booted-system
mkdir /run/nixos
[ ! -s @activation@ ] || sh -e @activation@ || echo "stage-2: the configuration's activation failed" >/dev/console

# There is no udev: it would find what is known already, that logind is to hear the power button.
mkdir -p /run/udev/data /run/udev/tags/power-switch
for button in /sys/class/input/event*; do
  device=c$(cat "$button/dev")
  printf 'G:power-switch\nQ:power-switch\nV:1\n' >"/run/udev/data/$device"
  : >"/run/udev/tags/power-switch/$device"
done

# Only the units of this system, no generators, and no system call filters: those take seconds on an emulated processor.
export SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/systemd/system:/run/systemd/transient:/run/systemd/system.control
export SYSTEMD_GENERATOR_PATH=/run/no-generators SYSTEMD_SECCOMP=0
export PATH=/usr/sbin:/usr/bin
exec /usr/lib/systemd/systemd
