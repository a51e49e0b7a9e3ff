"""The Focus Server of the sandbox: a FastAPI application in its pod, in two modes that are only settings."""
