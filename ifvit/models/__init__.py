"""The networks: pure functions of arrays, Flax Linen modules."""
