#!/bin/sh
# Called by udhcpc with what it learnt in the environment.
# shellcheck disable=SC2154
case $1 in
deconfig) ip link set "$interface" up ;;
bound | renew)
  ip addr replace "$ip/$mask" dev "$interface"
  [ -z "$router" ] || ip route replace default via "${router%% *}" dev "$interface"
  for server in $dns; do echo "nameserver $server"; done >/etc/resolv.conf
  ;;
esac
