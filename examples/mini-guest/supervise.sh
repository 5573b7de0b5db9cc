#!/bin/sh
# supervise NAME SCRIPT: runs a service to its end, passes on what it says, and keeps its line in /run/services.
note() {
  echo "$*" >"/run/.service-$name"
  mv "/run/.service-$name" "/run/services/$name"
}

name=$1 script=$2
note "$$ $script"
{
  # shellcheck source=/dev/null
  (. "$script")
  note "$$ $script $?"
} 2>&1 | while IFS= read -r line; do echo "$name: $line"; done
