"""One definition per measure (start, step, merge, result): live path, gates and report all use these and no others.

Pure: no I/O, no clock, no randomness. `catalogue.MEASURES` lists them, docs/measures.md explains them.
"""
