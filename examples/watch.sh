#!/bin/sh
# Ask and watch: server-sent events while the program runs; the last one is `finished`. Needs curl.
#   MILLRACE_URL=http://127.0.0.1:8000 MILLRACE_KEY=test-api-key sh examples/watch.sh
curl --silent --show-error --fail-with-body --no-buffer "${MILLRACE_URL:-http://127.0.0.1:8000}/executions" \
  --header "x-api-key: ${MILLRACE_KEY:-test-api-key}" \
  --header 'content-type: application/json' \
  --header 'accept: text/event-stream' \
  --data '{"language": "bash", "code": "for n in 1 2 3; do echo line $n; sleep 0.2; done"}'
