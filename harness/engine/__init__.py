"""Plays windows: an asyncio process of its own that does all HTTP and gRPC of the load, and writes what happened.

The load process starts it (`python -m harness.engine`) and asks for windows over a socket (`harness.focus.seam`). It enforces
the budget, retries nothing, and dies with its parent.
"""
