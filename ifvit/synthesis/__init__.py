"""Synthetic fingers: keys in, prints and the exact maps between them out. Pure JAX functions of arrays and keys."""
