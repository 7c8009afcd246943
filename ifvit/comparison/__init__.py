"""Two prints in, a score with its reasons out: by their ridges, and with a run's networks where there is a run."""
