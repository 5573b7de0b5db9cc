#!/bin/sh
# Makes what runs be this system, as far as files go: the root's links, /etc, the configuration's own lines, and at last /run/current-system.
export PATH=@assets@/bin
code=0

# replace LINK TARGET: at no time is there no link.
replace() {
  ln -sfn "$2" "$1.new" && mv -fT "$1.new" "$1"
}

# add PATH, remove PATH: a file of /etc.
add() {
  case $1 in */*) mkdir -p "/etc/${1%/*}" ;; esac
  replace "/etc/$1" "/etc/static/$1"
}

remove() {
  rm -f "/etc/$1"
  folder=$1
  while case $folder in */*) ;; *) false ;; esac; do
    folder=${folder%/*}
    rmdir "/etc/$folder" 2>/dev/null || return 0
  done
}

# The one rename that makes it so comes last: cut short before it, this is done over by the next activation.
switch_etc() {
  wanted=' '
  while read -r path; do wanted="$wanted$path "; done <@etc@/files
  while read -r path; do
    case $wanted in *" $path "*) ;; *) remove "$path" ;; esac
  done <"${static%/etc}/files"
  while read -r path; do
    [ -L "/etc/$path" ] || add "$path" || return
  done <@etc@/files
  replace /etc/static @etc@/etc
}

skeleton=
{ read -r skeleton </run/current-system/skeleton-path; } 2>/dev/null
static=$(readlink /etc/static)

[ "$skeleton" = @skeleton@ ] || cp -dRf @skeleton@/. / || code=1
[ "$static" = @etc@/etc ] || switch_etc || code=1
[ ! -s @activation@ ] || sh -e @activation@ || { echo "activate: the configuration's lines failed ($?)" >&2; code=1; }
replace /run/current-system @out@ || code=1
exit $code
