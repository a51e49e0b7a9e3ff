"""`python -m harness.engine --fd N`: an engine for the process that holds the other end of socket N. Not started by hand."""

import argparse
import gc
import os
import resource
import sys
import traceback

import uvloop

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # its INFO lines say what the record says better

from harness.engine.service import serve
from harness.errors import Exit


def main() -> int:
    """Run an engine until it is drained or its parent is gone."""
    parser = argparse.ArgumentParser(prog="python -m harness.engine", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="an inherited Unix stream socket")
    fd: int = parser.parse_args().fd
    _, most = resource.getrlimit(
        resource.RLIMIT_NOFILE
    )  # the usual soft 1,024 are too few for a thousand windows
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.collect()
    gc.freeze()  # what is imported by now stays: collections then look only at windows
    return int(uvloop.run(serve(fd)))


if __name__ == "__main__":
    try:
        code = main()
    except Exception:
        traceback.print_exc()
        code = int(Exit.INTERNAL)
    sys.stderr.flush()
    # Everything is written and said. gRPC's own clean-up (1.85) can wait for ever for its polling thread; nobody needs it.
    os._exit(code)
