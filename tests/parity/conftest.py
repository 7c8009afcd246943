"""PyTorch's side of the comparison: random weights, none at its neutral value, and the way across."""

import jax
import jax.numpy as jnp
import pytest

from ifvit.models.dense import DenseModel
from ifvit.weights.loftr import load_arrays
from ifvit.weights.merge import merge

torch = pytest.importorskip("torch")


def randomise(module, seed=0):
    """Give `module` random norms and statistics, leave its other weights, and return it in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda like, low, high: torch.rand(like.shape, generator=generator) * (high - low) + low  # noqa: E731
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, (torch.nn.BatchNorm2d, torch.nn.LayerNorm)):
                part.weight.copy_(draw(part.weight, 0.5, 1.5))
                part.bias.copy_(draw(part.bias, -0.3, 0.3))
            if isinstance(part, torch.nn.BatchNorm2d):
                part.running_mean.copy_(draw(part.running_mean, -0.3, 0.3))
                part.running_var.copy_(draw(part.running_var, 0.5, 1.5))
    return module.eval()


@pytest.fixture(scope="session")
def torch_random():
    """A function (build) -> the module that `build()` makes, reproducibly random, in eval mode."""

    def make(build):
        torch.manual_seed(0)
        return randomise(build())

    return make


@pytest.fixture(scope="session")
def transfer(tmp_path_factory):
    """A function (module, **fields of DenseModel) -> (DenseModel, its variables with the module's weights).

    The way a user's weights go: torch.save, the program's own reader, its merge.
    """

    def carry(module, **fields):
        model = DenseModel(**fields)
        image = jnp.zeros((1, 32, 32))
        shapes = jax.eval_shape(model.init, jax.random.key(0), image, image)
        path = tmp_path_factory.mktemp("weights") / "loftr.ckpt"
        torch.save({"state_dict": module.state_dict(prefix="matcher.")}, path)
        arrays, dropped = load_arrays(path)
        options = dict(layer_kinds=model.layer_kinds, backbone=model.backbone)
        variables, report = merge(shapes, arrays, source=path, dropped=dropped, **options)
        return model, variables, report

    return carry
