"""A sweep of runs: its jobs, each in a process of its own, and the table of their results."""
