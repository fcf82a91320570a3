#!/usr/bin/env bash
# Consume results in a group, with nothing but redis-cli: each `finished` reaches one member, at least once.
#   REDIS_URL=redis://localhost:6379 bash examples/streams/consume.sh GROUP [COUNT]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/broker.sh"
group=$1 count=${2:--1} member=$HOSTNAME-$$

made=$("${broker[@]}" XGROUP CREATE millrace:results "$group" 0 MKSTREAM)
[[ $made == OK || $made == *BUSYGROUP* ]] || { echo "$made" >&2; exit 1; }

handle() { # ENTRY JSON
  local id outcome
  id=$(sed -n 's/.*"execution_id":"\([^"]*\)".*/\1/p' <<<"$2")
  outcome=$(sed -n 's/.*"outcome":"\([a-z_]*\)".*/\1/p' <<<"$2")
  # At least once: noted under its key, a result that comes twice changes nothing. Acknowledged after that.
  "${broker[@]}" HSET "$group:outcomes" "$id" "$outcome" >/dev/null
  "${broker[@]}" XACK millrace:results "$group" "$1" >/dev/null
  echo "$id $outcome"
}

while ((count != 0)); do
  # What a dead member left behind: a cursor, then entries of three lines. Then what is new: four lines.
  if { read -r _ && read -r entry && read -r _ && read -r result; } \
    < <("${broker[@]}" --raw XAUTOCLAIM millrace:results "$group" "$member" 60000 0 COUNT 1) \
    || { read -r _ && read -r entry && read -r _ && read -r result; } \
      < <("${broker[@]}" --raw XREADGROUP GROUP "$group" "$member" COUNT 1 BLOCK 5000 STREAMS millrace:results '>'); then
    handle "$entry" "$result"
    count=$((count - 1))
  fi
done
