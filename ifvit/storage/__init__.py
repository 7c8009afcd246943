"""Files and folders on disk: JSON and CSV, saved states, caches, and long work in blocks.

Read `files` first: it writes every file, complete or not at all. `checkpoint` saves the states of a training run,
`cache` and `blocks` store results that take long to compute, and `recent` keeps results in memory.
"""
