"""From the settings to the configuration of pods, for the processes that use them."""

from infra.settings import Settings
from sandboxes.kubernetes.config import KubernetesConfig, PodConfig, PoolConfig
from sandboxes.languages import RECIPES, Recipe

_OWN_IMAGES = {"K8S_IMAGE_REGISTRY", "K8S_IMAGE_TAG"}


def kubernetes_config(settings: Settings) -> KubernetesConfig:
    """Return all that the settings say about pods."""
    return KubernetesConfig(
        pod=_pod(settings), pool=_pool(settings), namespace=settings.k8s_namespace or None
    )


def _pod(settings: Settings) -> PodConfig:
    gvisor = settings.gke_sandbox_enabled
    return PodConfig(
        instance=settings.millrace_instance,
        mode=settings.k8s_execution_mode,
        sidecar_image=_sidecar_image(settings),
        images={recipe.code: _language_image(recipe, settings) for recipe in RECIPES},
        executor_port=settings.k8s_executor_port,
        pull_policy=settings.k8s_image_pull_policy,
        pull_secrets=settings.k8s_image_pull_secrets,
        cpu_limit=settings.k8s_cpu_limit,
        cpu_request=settings.k8s_cpu_request,
        memory_limit=settings.k8s_memory_limit,
        memory_request=settings.k8s_memory_request,
        limits=settings.sandbox_limits(),
        network=not settings.enable_network_isolation,
        own_filesystem=settings.enable_filesystem_isolation,
        runtime_class=settings.gke_sandbox_runtime_class if gvisor else None,
        node_selector=settings.gke_sandbox_node_selector if gvisor else {},
        tolerations=settings.gke_sandbox_custom_tolerations if gvisor else (),
    )


def _sidecar_image(settings: Settings) -> str:
    """Return the sidecar as named, or as built for the mode."""
    if "K8S_SIDECAR_IMAGE" in settings.given:
        return settings.k8s_sidecar_image
    if settings.given & _OWN_IMAGES:
        return _own(f"sidecar-{settings.k8s_execution_mode}", settings)
    return settings.k8s_sidecar_image.replace("-agent:", f"-{settings.k8s_execution_mode}:")


def _language_image(recipe: Recipe, settings: Settings) -> str:
    """Return a language's image as named, else Millrace's own build if an operator said where those are."""
    if settings.given & _OWN_IMAGES and recipe.image not in settings.given:
        return _own(recipe.image.removeprefix("LANG_IMAGE_").lower(), settings)
    return _named_images(settings)[recipe.image]


def _own(name: str, settings: Settings) -> str:
    return f"{settings.k8s_image_registry}/millrace-{name}:{settings.k8s_image_tag}"


def _named_images(settings: Settings) -> dict[str, str]:
    return {
        "LANG_IMAGE_PY": settings.lang_image_py,
        "LANG_IMAGE_JS": settings.lang_image_js,
        "LANG_IMAGE_TS": settings.lang_image_ts,
        "LANG_IMAGE_GO": settings.lang_image_go,
        "LANG_IMAGE_JAVA": settings.lang_image_java,
        "LANG_IMAGE_C": settings.lang_image_c,
        "LANG_IMAGE_CPP": settings.lang_image_cpp,
        "LANG_IMAGE_PHP": settings.lang_image_php,
        "LANG_IMAGE_RS": settings.lang_image_rs,
        "LANG_IMAGE_R": settings.lang_image_r,
        "LANG_IMAGE_F90": settings.lang_image_f90,
        "LANG_IMAGE_D": settings.lang_image_d,
    }


def _pool(settings: Settings) -> PoolConfig:
    return PoolConfig(
        sizes=_sizes(settings) if settings.pod_pool_enabled else {},
        warm_up=settings.pod_pool_warmup_on_startup,
        parallel=settings.pod_pool_parallel_batch,
        every_s=float(settings.pod_pool_replenish_interval),
        trigger=settings.pod_pool_exhaustion_trigger,
    )


def _sizes(settings: Settings) -> dict[str, int]:
    return {
        "py": settings.pod_pool_py,
        "js": settings.pod_pool_js,
        "ts": settings.pod_pool_ts,
        "go": settings.pod_pool_go,
        "java": settings.pod_pool_java,
        "rs": settings.pod_pool_rs,
        "c": settings.pod_pool_c,
        "cpp": settings.pod_pool_cpp,
        "php": settings.pod_pool_php,
        "r": settings.pod_pool_r,
        "f90": settings.pod_pool_f90,
        "d": settings.pod_pool_d,
    }
