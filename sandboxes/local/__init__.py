"""Sandboxes on one machine: bubblewrap, namespaces, control groups where they can be had."""

from sandboxes.local.config import LocalConfig
from sandboxes.local.sandboxes import LocalSandboxes

__all__ = ["LocalConfig", "LocalSandboxes"]
