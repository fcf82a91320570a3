"""The settings that load and validate but that nothing reads yet. This table only ever shrinks.

A setting leaves it in the change that makes it real; tests keep the table honest in both directions.
"""

UNREAD: frozenset[str] = frozenset({
    # auth
    "API_KEY_CACHE_TTL",
    "MASTER_API_KEY",
    # kubernetes
    "K8S_NAMESPACE",
    "K8S_SIDECAR_IMAGE",
    "K8S_IMAGE_REGISTRY",
    "K8S_IMAGE_TAG",
    "K8S_CPU_LIMIT",
    "K8S_MEMORY_LIMIT",
    "K8S_CPU_REQUEST",
    "K8S_MEMORY_REQUEST",
    "K8S_EXECUTION_MODE",
    "K8S_EXECUTOR_PORT",
    "K8S_IMAGE_PULL_POLICY",
    "K8S_IMAGE_PULL_SECRETS",
    # gvisor
    "GKE_SANDBOX_ENABLED",
    "GKE_SANDBOX_RUNTIME_CLASS",
    "GKE_SANDBOX_NODE_SELECTOR",
    "GKE_SANDBOX_CUSTOM_TOLERATIONS",
    # pool
    "POD_POOL_WARMUP_ON_STARTUP",
    "POD_POOL_PY",
    "POD_POOL_GO",
    "POD_POOL_RS",
    "POD_POOL_C",
    "POD_POOL_CPP",
    "POD_POOL_F90",
    "POD_POOL_D",
    "POD_POOL_PARALLEL_BATCH",
    "POD_POOL_REPLENISH_INTERVAL",
    "POD_POOL_EXHAUSTION_TRIGGER",
    # security
    "ENABLE_FILESYSTEM_ISOLATION",
    # languages
    "LANG_IMAGE_PY",
    "LANG_IMAGE_JS",
    "LANG_IMAGE_TS",
    "LANG_IMAGE_GO",
    "LANG_IMAGE_JAVA",
    "LANG_IMAGE_C",
    "LANG_IMAGE_CPP",
    "LANG_IMAGE_PHP",
    "LANG_IMAGE_RS",
    "LANG_IMAGE_R",
    "LANG_IMAGE_F90",
    "LANG_IMAGE_D",
})  # fmt: skip
