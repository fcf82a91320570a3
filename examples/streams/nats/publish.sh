#!/usr/bin/env bash
# Publish a job straight onto JetStream and read its log, with nothing but the `nats` command.
#   NATS_URL=nats://localhost:4222 bash examples/streams/nats/publish.sh
set -euo pipefail

job="job-$RANDOM$RANDOM" # the idempotency key: publishing it twice still runs it once
code="for n in 0 1 2; do echo line \$n; done"
nats publish --quiet --jetstream millrace.requests \
  "{\"id\": \"$job\", \"language\": \"bash\", \"code\": \"$code\", \"stdin\": \"\"}"

while read -r event; do
  seq=$(sed -n 's/.*"seq":\([0-9]*\).*/\1/p' <<<"$event")
  type=${event#'{"type":"'}
  outcome=$(sed -n 's/.*"outcome":"\([a-z_]*\)".*/ \1/p' <<<"$event")
  echo "$seq ${type%%\"*}$outcome"
  [[ -z $outcome ]] || break
done < <(nats subscribe --raw --stream MILLRACE_LOG --all "millrace.log.$job")
kill "$!" 2>/dev/null || true # it would follow for ever
