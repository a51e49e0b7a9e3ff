"""What happened: the run's events and samples, written once and only read afterwards.

Load, chaos and watchers append; judge, report and metrics read. Two kinds of record: events (few, one JSON line each) and
samples (many, fixed-width rows in checksummed blocks). One writer per file, one clock for all.
"""
