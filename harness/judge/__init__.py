"""Pure: a run's history -> findings -> verdict. No I/O, no clock, no randomness; old runs can be judged again any time."""
