"""What every process of the harness pays for before it does anything: the modules it loads."""

import subprocess
import sys

HEAVY = ("kubernetes.client.api.core_v1_api", "matplotlib", "locust", "grpc")


def test_a_fault_s_process_starts_without_what_it_does_not_need() -> None:
    code = f"import sys, harness.chaos.__main__; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
