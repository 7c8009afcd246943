"""Module 2: two aligned prints in, a vector of each and the match probabilities out.

There are two branches, each a Module 1 with one more layer. The global branch gets the enhanced overlap of the pair,
the local branch a piece of the prints themselves about the middle of the overlap. The vector of a print depends on the
other print of the pair, because of cross-attention and of the overlap. Source: Qiu et al. 2024 (IFViT).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from ifvit.models.dense import DenseModel
from ifvit.pair import Pair

BRANCHES = ("global_branch", "local_branch")
SHARED = "both_branches"  # name of the single copy of the weights, where the branches share them
TINY = 1e-12  # in a norm, so that a vector of zeros has a gradient


class BranchInput(NamedTuple):
    """The input of a branch for B pairs, A aligned with B."""

    images: Pair[jax.Array]  # (B, H, W) float32 in [0, 1]
    cells: jax.Array  # (B, h, w) float32, 1 in the overlap: the vector is the mean over the tokens of these cells
    mask: jax.Array | None = None  # (B, h, w) float32, 1 = real, 0 = padding; None: no cell is padding


class BranchOutput(NamedTuple):
    """The output of a branch for B pairs."""

    vectors: Pair[jax.Array]  # (B, D) float32 of length 1
    log_p: jax.Array  # (B, N, N) float32, log of the match probability

    @property
    def cosine(self) -> jax.Array:
        """The cosine similarity of the vectors of each pair, (B,) in [-1, 1]."""
        return jnp.sum(self.vectors.a * self.vectors.b, axis=-1)


class MatcherOutput(NamedTuple):
    """The outputs of both branches."""

    of_global: BranchOutput
    of_local: BranchOutput

    def score(self, global_weight: float, local_weight: float) -> jax.Array:
        """The fused cosine of each pair, (B,)."""
        return global_weight * self.of_global.cosine + local_weight * self.of_local.cosine


class Branch(DenseModel):
    """Module 1, followed by a fully connected layer from the mean of its tokens to a vector of `vector` numbers.

    Its variables are Module 1's and params/embed.
    """

    vector: int = 256

    def setup(self) -> None:
        super().setup()
        self.embed = nn.Dense(self.vector, dtype=self.dtype)

    def __call__(  # type: ignore[override]  # a Flax module has inputs of its own
        self, inputs: BranchInput, train: bool = False
    ) -> BranchOutput:
        output = super().__call__(*inputs.images, inputs.mask, inputs.mask, train)
        cells = inputs.cells.reshape(len(inputs.cells), -1)
        coarse = Pair(output.coarse_a, output.coarse_b)
        return BranchOutput(coarse.map(lambda tokens: self._vector(tokens, cells)), output.log_p)

    def _vector(self, tokens: jax.Array, cells: jax.Array) -> jax.Array:
        """The vector (B, D) of the mean of tokens (B, N, C), weighted by `cells` (B, N)."""
        weight = cells / jnp.maximum(cells.sum(-1, keepdims=True), 1)
        mean = jnp.einsum("bn,bnc->bc", weight, tokens.astype(jnp.float32))
        vector = self.embed(mean).astype(jnp.float32)
        return vector * jax.lax.rsqrt(jnp.sum(vector**2, axis=-1, keepdims=True) + TINY)


class MatcherModel(nn.Module):
    """Both branches of Module 2.

    Call: of_global and of_local, a `BranchInput` each; `train` as for `DenseModel`. Returns `MatcherOutput`.
    Variables: {params, batch_stats}/{global_branch, local_branch}, or /both_branches where they are shared, each as in
    `Branch`.
    """

    branch: Branch  # the template of both branches
    shared: bool = False  # whether both branches use the same weights

    @classmethod
    def from_config(cls, dense: Any, matcher: Any, dtype: Any) -> MatcherModel:
        """Build the model from Module 1's config and Module 2's, which has `vector` and `shared`."""
        return cls(Branch.from_config(dense, dtype).clone(vector=matcher.vector), matcher.shared)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the branches in the variables."""
        return (SHARED,) if self.shared else BRANCHES

    @nn.compact
    def __call__(self, of_global: BranchInput, of_local: BranchInput, train: bool = False) -> MatcherOutput:
        branches = [self.branch.clone(parent=self, name=name) for name in self.names]
        return MatcherOutput(branches[0](of_global, train), branches[-1](of_local, train))


def from_dense(model: MatcherModel, variables: dict[str, Any], dense: Mapping[str, Any]) -> dict[str, Any]:
    """The matcher's variables, in which each branch has the values of the Module 1 variables `dense`.

    dense: {'params', 'batch_stats'} of a Module 1. A branch's own `embed` stays.

    Raises:
        ValueError: names, shapes or dtypes do not fit; the message names the first three.
    """
    for kind in ("params", "batch_stats"):
        for name in model.names:
            own = {key: value for key, value in variables[kind][name].items() if key != "embed"}
            _check_same(own, dense[kind], f"{kind}/{name}")
    return {
        kind: {
            name: jax.tree.map(jnp.asarray, dict(dense[kind])) | {k: v for k, v in tree[name].items() if k == "embed"}
            for name in model.names
        }
        for kind, tree in variables.items()
    }


def _check_same(expected: Any, tree: Any, path: str) -> None:
    """Raise `ValueError`, which names `path`, unless both trees have the same names, shapes and dtypes."""
    forms, tree_forms = (
        {jax.tree_util.keystr(keys): f"{leaf.dtype} {leaf.shape}" for keys, leaf in jax.tree.leaves_with_path(arrays)}
        for arrays in (expected, tree)
    )
    problems = [
        f"{name}: {tree_forms.get(name)} given, {forms.get(name)} expected"
        for name in sorted(forms.keys() | tree_forms.keys())
        if forms.get(name) != tree_forms.get(name)
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ValueError(f"{path}: {'; '.join(problems[:3])}{more}")
