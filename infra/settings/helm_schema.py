"""values.schema.json of the Helm chart: its own words, and every setting with its bounds.

Helm checks values against it before anything reaches a cluster, so a misspelt setting is told at once.
"""

import json
from typing import Any

from infra.settings.catalogue import SETTINGS, Setting

Schema = dict[str, Any]


def helm_schema() -> str:
    """Return the file's text."""
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", **_object(**_chart(), **_of_settings())}
    return json.dumps(schema, indent=2) + "\n"


def _of_settings() -> dict[str, Schema]:
    plain = {name: _value(setting) for name, setting in SETTINGS.items() if not setting.is_secret}
    reference = _object(name=_text(), key=_text()) | {"required": ["name", "key"]}
    hidden = {name: reference for name, setting in SETTINGS.items() if setting.is_secret}
    return {"settings": _object(**plain), "secrets": _object(**hidden)}


def _value(setting: Setting) -> Schema:
    """Return what a setting accepts, as YAML has it or as the text that the environment would hold."""
    terms = setting.terms
    schema: Schema = {"description": terms.about}
    match setting.kind:
        case "integer" | "number":
            bounds = {"minimum": terms.at_least, "maximum": terms.at_most}
            schema |= {"type": setting.kind} | {
                key: bound for key, bound in bounds.items() if bound is not None
            }
        case "boolean":
            schema |= {"type": "boolean"}
        case "choice":
            schema |= {"enum": list(setting.choices)}
        case "list":
            schema |= {"type": ["array", "string"], "items": {"type": "string"}}
        case "object" | "array":
            schema |= {"type": setting.kind}
        case _:
            schema |= {"type": "string"} | ({"pattern": f"^({terms.pattern})?$"} if terms.pattern else {})
    return schema


def _chart() -> dict[str, Schema]:
    return {
        "image": _object(repository=_text(), tag=_text(), pullPolicy=_pull(), pullSecrets=_texts()),
        "sandboxes": _object(
            namespace=_text(),
            createNamespace=_flag(),
            quota=_object(enabled=_flag(), pods=_count(), limitsCpu=_quantity(), limitsMemory=_quantity()),
            limitRange=_object(enabled=_flag(), maxCpu=_quantity(), maxMemory=_quantity()),
        ),
        "edge": _process(service=_service(), ingress=_ingress()),
        "handlers": _process(terminationGracePeriodSeconds=_count(), autoscaling=_autoscaling()),
        "pool": _process(),
        "redis": _broker(),
        "nats": _broker(),
        "networkPolicies": _object(enabled=_flag(), edgeFrom={"type": "array", "items": {"type": "object"}}),
        "podDisruptionBudgets": _object(enabled=_flag()),
        "monitoring": _object(
            serviceMonitor=_flag(), rules=_flag(), labels={"type": "object"}, oldestSeconds=_count()
        ),
        "test": _object(
            url=_text() | {"pattern": "^(https?://[^/]+)?$"}, timeoutSeconds=_count() | {"minimum": 1}
        ),
        "files": {"type": "array", "items": _file()},
    }


def _file() -> Schema:
    named = _object(secret=_text() | {"minLength": 1}, mountPath=_text() | {"pattern": "^/[^:]+$"})
    return named | {"required": ["secret", "mountPath"]}


def _process(**more: Schema) -> Schema:
    return _object(
        replicas=_count(),
        resources=_resources(),
        nodeSelector={"type": "object", "additionalProperties": _text()},
        tolerations={"type": "array", "items": {"type": "object"}},
        **more,
    )


def _service() -> Schema:
    return _object(type={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]}, port=_count())


def _ingress() -> Schema:
    return _object(
        enabled=_flag(),
        className=_text(),
        host=_text(),
        tlsSecretName=_text(),
        annotations={"type": "object", "additionalProperties": _text()},
    )


def _autoscaling() -> Schema:
    return _object(
        kind={"enum": ["none", "hpa", "keda"]},
        minReplicas=_count(),
        maxReplicas=_count(),
        waiting=_count(),
        oldestSeconds=_count(),
        prometheus=_text(),
    )


def _broker() -> Schema:
    return _object(
        builtIn=_flag(), image=_text(), storage=_text(), storageClassName=_text(), resources=_resources()
    )


def _resources() -> Schema:
    amounts = {"type": "object", "additionalProperties": _quantity()}
    return _object(requests=amounts, limits=amounts)


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _text() -> Schema:
    return {"type": "string"}


def _texts() -> Schema:
    return {"type": "array", "items": {"type": "string"}}


def _flag() -> Schema:
    return {"type": "boolean"}


def _count() -> Schema:
    return {"type": "integer", "minimum": 0}


def _quantity() -> Schema:
    return {"type": ["string", "number"]}


def _pull() -> Schema:
    return {"enum": ["Always", "IfNotPresent", "Never"]}
