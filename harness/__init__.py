"""focus-harness: chaos and load campaigns against Focus Server."""

__version__ = "0.1.0"
