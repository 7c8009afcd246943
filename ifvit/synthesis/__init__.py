"""Synthetic fingers: a random key in, a master ridge pattern out. Pure JAX functions of arrays and keys."""
