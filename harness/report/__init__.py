"""Findings become a page, text, JUnit and markdown; the live path becomes a terminal view and Prometheus metrics.

Reads findings, the run's facts and live messages. Concludes nothing of its own: every number shown was counted by the
judge, or is a plain sum of live messages.
"""
