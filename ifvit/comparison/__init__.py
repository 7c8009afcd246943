"""Comparison of two prints by their ridges, and by a run's networks where there is one: a score and its evidence."""
