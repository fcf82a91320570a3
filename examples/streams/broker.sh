# How redis-cli gets to the broker that REDIS_URL names, also by a unix socket. For `source`.
broker=(redis-cli -u "${REDIS_URL:-redis://localhost:6379}")
if [[ ${REDIS_URL:-} == unix://* ]]; then
  path=${REDIS_URL#unix://}
  broker=(redis-cli -s "$(printf '%b' "${path//%/\\x}")")
fi
