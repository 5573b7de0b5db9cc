# Sourced by the scripts: where things are, and how they speak.
# shellcheck shell=bash

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# What assets.sh collected; made by setup, shared by all worlds.
# shellcheck disable=SC2034  # for those who source this
assets_cache=$repo/.cache/mini-guest

say() {
  printf '%s: %s\n' "${0##*/}" "$*"
}

fail() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}
