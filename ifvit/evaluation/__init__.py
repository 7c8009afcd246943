"""Evaluation: from scores, and the fingers they compare, to the figures and pictures of the field."""
