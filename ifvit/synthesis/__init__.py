"""Synthetic fingers: random keys in, prints and the exact maps between them out. Pure JAX functions."""
