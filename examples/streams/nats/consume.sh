#!/usr/bin/env bash
# Consume results in a group, with nothing but the `nats` command: each `finished` reaches one member.
#   NATS_URL=nats://localhost:4222 bash examples/streams/nats/consume.sh GROUP [COUNT]
set -euo pipefail
group=$1 count=${2:--1}

nats consumer info MILLRACE_RESULTS "$group" >/dev/null 2>&1 \
  || nats consumer add MILLRACE_RESULTS "$group" --pull --ack explicit --deliver all --defaults >/dev/null
while ((count != 0)); do
  # The command acknowledges what it prints. Whoever must not lose a result to a crash right after that
  # takes a client that acknowledges when the work is done.
  result=$(nats consumer next MILLRACE_RESULTS "$group" --raw --count 1 --wait 5s) || continue
  id=$(sed -n 's/.*"execution_id":"\([^"]*\)".*/\1/p' <<<"$result")
  outcome=$(sed -n 's/.*"outcome":"\([a-z_]*\)".*/\1/p' <<<"$result")
  echo "$id $outcome"
  count=$((count - 1))
done
