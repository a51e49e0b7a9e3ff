"""The sandbox's Kubernetes API server: store, verbs, rights and HTTP, one asyncio process."""
