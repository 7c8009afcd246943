"""IFViT: interpretable fingerprint matching with a vision transformer, in JAX."""

__version__ = "0.1.0"
