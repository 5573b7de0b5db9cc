# Sourced by the scripts: where things are, and how they speak.
# shellcheck shell=bash

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# What assets.sh collected; made by setup, shared by all worlds.
# shellcheck disable=SC2034  # for those who source this
assets_cache=$repo/.cache/mini-guest systemd_cache=$repo/.cache/systemd-guest
# The other host: a Debian 13 in a folder, see debian13.
# shellcheck disable=SC2034
debian13_cache=$repo/.cache/debian13

say() {
  printf '%s: %s\n' "${0##*/}" "$*"
}

fail() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# quietly WHAT COMMAND...: the command's output is shown only if it fails.
quietly() {
  local what=$1 log
  shift
  say "$what"
  log=$(mktemp)
  if ! "$@" >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    rm -f "$log"
    fail "failed: $what"
  fi
  rm -f "$log"
}

# read_host [--host NAME] ...: sets host, and host_words to how many of the arguments say so.
# shellcheck disable=SC2034  # for those who call this
read_host() {
  host=debian12 host_words=0
  [[ ${1-} == --host ]] || return 0
  case ${2-} in
  debian12 | debian13) host=$2 host_words=2 ;;
  *) fail "--host is debian12 or debian13" ;;
  esac
}

# add_parameters_for_old_qemu KERNEL_PARAMS_NIX: makes each boot a second shorter; the mini guest's kernel-params.nix says why not with others.
add_parameters_for_old_qemu() {
  if [[ $(qemu-system-x86_64 --version) == *' version 7.'* ]]; then sed -i 's/^  "cryptomgr/  "init_on_alloc=0"\n&/' "$1"; fi
}
