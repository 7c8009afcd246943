"""One print aligned with another: hypotheses, the elastic map, and how well the ridges agree under it."""
