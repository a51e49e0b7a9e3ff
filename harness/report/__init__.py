"""Findings become a page, text, JUnit and markdown; the live path becomes a terminal view and Prometheus metrics.

Reads findings, the run's facts and live messages. Concludes nothing of its own: every number shown was counted by the
judge, or is a plain sum of live messages.
"""

from harness.report.live import LiveState
from harness.report.page import render_page, write_page
from harness.report.prometheus import MetricsServer, serve_metrics
from harness.report.snapshot import Snapshot
from harness.report.terminal import TerminalView
from harness.report.text import junit_xml, markdown_summary, print_verdict, summary_text, write_junit

__all__ = [
    "LiveState",
    "MetricsServer",
    "Snapshot",
    "TerminalView",
    "junit_xml",
    "markdown_summary",
    "print_verdict",
    "render_page",
    "serve_metrics",
    "summary_text",
    "write_junit",
    "write_page",
]
