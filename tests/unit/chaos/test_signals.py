"""A signal is heard although a handler swallows it."""

import subprocess
import sys

PROGRAM = """
import os, signal, sys, time
from harness.chaos.signals import hear
signal.signal(signal.SIGTERM, lambda *_: None)      # as if it had been raised inside a log line, and swallowed
heard = []
hear((signal.SIGTERM,), heard.append)
os.kill(os.getpid(), signal.SIGUSR1 if len(sys.argv) > 1 else signal.SIGTERM)
deadline = time.monotonic() + 5
while not heard and time.monotonic() < deadline:
    time.sleep(0.01)
print(heard)
"""


def test_a_swallowed_signal_is_heard() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['SIGTERM']"
