"""Module 2: two prints laid on one another in, a vector of each and the correspondences out.

Two branches, each a Module 1 with one layer more: the global one sees the enhanced overlap of the pair, the local one a
piece of the prints themselves about the overlap's middle. Because of cross-attention, and of the shared overlap, a
print's vector is one of the pair. Source: Qiu et al. 2024 (IFViT).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from ifvit.models.dense import DenseModel

BRANCHES = ("global_branch", "local_branch")
SHARED = "both_branches"  # the one copy of the weights, when they are shared
TINY = 1e-12  # in a norm, so that a vector of zeros has a gradient


class BranchInput(NamedTuple):
    """What a branch sees of B pairs, A laid on B.

    image_a, image_b: float32 (B, H, W) in [0, 1]; cells: float32 (B, h, w), 1 where the overlap is: these tokens make
    the vector; mask: float32 (B, h, w), 1 = real, 0 = padding, or None where nothing is.
    """

    image_a: jax.Array
    image_b: jax.Array
    cells: jax.Array
    mask: jax.Array | None = None


class BranchOutput(NamedTuple):
    """vector_a, vector_b float32 (B, D) of length 1; log_p float32 (B, N, N)."""

    vector_a: jax.Array
    vector_b: jax.Array
    log_p: jax.Array

    @property
    def cosine(self) -> jax.Array:
        """How alike the vectors of each pair are, (B,) in [-1, 1]."""
        return jnp.sum(self.vector_a * self.vector_b, axis=-1)


class MatcherOutput(NamedTuple):
    """What each branch says."""

    of_global: BranchOutput
    of_local: BranchOutput

    def score(self, global_weight: float, local_weight: float) -> jax.Array:
        """The fused cosine of each pair, (B,)."""
        return global_weight * self.of_global.cosine + local_weight * self.of_local.cosine


class Branch(DenseModel):
    """Module 1 and, over the mean of its tokens, a fully connected layer to a vector of `vector` numbers.

    Its variables are Module 1's and params/embed.
    """

    vector: int = 256

    def setup(self):
        super().setup()
        self.embed = nn.Dense(self.vector, dtype=self.dtype)

    def __call__(self, seen: BranchInput, train: bool = False) -> BranchOutput:
        output = super().__call__(seen.image_a, seen.image_b, seen.mask, seen.mask, train)
        cells = seen.cells.reshape(len(seen.cells), -1)
        vector_a, vector_b = (self._vector(tokens, cells) for tokens in (output.coarse_a, output.coarse_b))
        return BranchOutput(vector_a, vector_b, output.log_p)

    def _vector(self, tokens, cells):
        """The vector (B, D) of tokens (B, N, C), of which those of `cells` (B, N) count."""
        weight = cells / jnp.maximum(cells.sum(-1, keepdims=True), 1)
        mean = jnp.einsum("bn,bnc->bc", weight, tokens.astype(jnp.float32))
        vector = self.embed(mean).astype(jnp.float32)
        return vector * jax.lax.rsqrt(jnp.sum(vector**2, axis=-1, keepdims=True) + TINY)


class MatcherModel(nn.Module):
    """Both branches. Call: of_global, of_local `BranchInput`s; `train` as of `DenseModel`. Returns `MatcherOutput`.

    branch: how each is built. With `shared` one copy of the weights serves both.
    Variables: {params, batch_stats}/{global_branch, local_branch}, or /both_branches, each as of `Branch`.
    """

    branch: Branch
    shared: bool = False

    @classmethod
    def from_config(cls, dense: Any, matcher: Any, dtype: Any) -> MatcherModel:
        """Build it from a config of Module 1 and one with `vector` and `shared`."""
        return cls(Branch.from_config(dense, dtype).clone(vector=matcher.vector), matcher.shared)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the branches among the variables."""
        return (SHARED,) if self.shared else BRANCHES

    @nn.compact
    def __call__(self, of_global: BranchInput, of_local: BranchInput, train: bool = False) -> MatcherOutput:
        branches = [self.branch.clone(parent=self, name=name) for name in self.names]
        return MatcherOutput(branches[0](of_global, train), branches[-1](of_local, train))


def from_dense(model: MatcherModel, variables: dict[str, Any], dense: dict[str, Any]) -> dict[str, Any]:
    """The matcher's variables with all of a Module 1's, {'params', 'batch_stats'}, in place of each branch's own.

    Raises:
        ValueError: names or shapes do not fit; names the first of them.
    """
    for kind in ("params", "batch_stats"):
        for name in model.names:
            own = {key: value for key, value in variables[kind][name].items() if key != "embed"}
            _check_same(own, dense[kind], f"{kind}/{name}")
    return {
        kind: {
            name: jax.tree.map(jnp.asarray, dict(dense[kind])) | {k: v for k, v in held[name].items() if k == "embed"}
            for name in model.names
        }
        for kind, held in variables.items()
    }


def _check_same(own: Any, other: Any, where: str) -> None:
    held, given = (
        {jax.tree_util.keystr(path): f"{leaf.dtype} {leaf.shape}" for path, leaf in jax.tree.leaves_with_path(tree)}
        for tree in (own, other)
    )
    wrong = [f"{k}: {given.get(k)} given, {held.get(k)} expected" for k in sorted(held.keys() | given.keys())
             if held.get(k) != given.get(k)]  # fmt: skip
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(f"{where}: {'; '.join(wrong[:3])}{more}")
