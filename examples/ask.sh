#!/bin/sh
# Ask and wait: one request, one answer with the output of the run. Needs curl.
#   MILLRACE_URL=http://127.0.0.1:8000 MILLRACE_KEY=test-api-key sh examples/ask.sh
curl --silent --show-error --fail-with-body "${MILLRACE_URL:-http://127.0.0.1:8000}/exec" \
  --header "x-api-key: ${MILLRACE_KEY:-test-api-key}" \
  --header 'content-type: application/json' \
  --data '{"lang": "py", "code": "print(6 * 7)"}'
echo
