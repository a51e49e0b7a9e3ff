"""Play a campaign: one clock, all hands, a run as a pyramid of `with` blocks.

Starts the processes of a run, keeps phases, stops everything in order, and hands the record to the judge. Conducting
never loads, injects or concludes anything itself.
"""
