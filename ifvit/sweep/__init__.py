"""A sweep of runs: its jobs, one process each, and the table of their results."""
