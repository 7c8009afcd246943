"""The arrays that a run saves."""

import jax
import numpy as np

from ifvit.storage import checkpoint


def arrays_of(run_dir, step):
    """Every array of a saved state, by name."""
    manager = checkpoint.Checkpoints(run_dir)._latest
    arrays = manager.restore(step)
    manager.close()
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(arrays)}


def same_bits(arrays, other):
    assert arrays.keys() == other.keys() and len(arrays) > 20
    return all(a.tobytes() == other[name].tobytes() for name, a in arrays.items())
