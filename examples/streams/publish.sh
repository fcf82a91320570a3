#!/usr/bin/env bash
# Publish a job straight onto the stream and read its log, with nothing but redis-cli.
#   REDIS_URL=redis://localhost:6379 bash examples/streams/publish.sh
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/broker.sh"

job="job-$RANDOM$RANDOM" # the idempotency key: publishing it twice still runs it once
code="for n in 0 1 2; do echo line \$n; done"
"${broker[@]}" XADD millrace:requests '*' data \
  "{\"id\": \"$job\", \"language\": \"bash\", \"code\": \"$code\", \"stdin\": \"\"}" >/dev/null

last=0 event=
while [[ $event != '{"type":"finished"'* ]]; do
  # One entry is four lines: the stream, the entry's id, the name of its field, and one line of JSON.
  { read -r _ && read -r last && read -r _ && read -r event; } \
    < <("${broker[@]}" --raw XREAD COUNT 1 BLOCK 60000 STREAMS "millrace:log:$job" "$last") || continue
  type=${event#'{"type":"'}
  outcome=$(sed -n 's/.*"outcome":"\([a-z_]*\)".*/ \1/p' <<<"$event")
  echo "${last%-0} ${type%%\"*}$outcome"
done
