"""Speed, measured beside a peer in the same run: `make bench` prints a table and writes reports/bench.json.

Numbers never stand in tests: they depend on the machine. Each row names the command that makes it again.
"""
