"""Training: the state, one jit-compiled step, the loop around it, validation, logs."""
