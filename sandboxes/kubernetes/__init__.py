"""Sandboxes as pods of a Kubernetes cluster: kubernetes_asyncio is known here and nowhere else."""
