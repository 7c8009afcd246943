"""Stage by stage against numbers that public PyTorch code computed with public, trained weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit.models.dense import DenseModel

STUDENT = dict(
    backbone="resnet_fpn_16_4",
    stem_width=8,
    stage_widths=(8, 16, 32, 32),
    d_model=32,
    num_heads=1,
    norm_eps=1e-7,
    temp_bug_fix=False,
)


@pytest.fixture(scope="module")
def stages(shared_dir):
    """(the golden arrays, our output, the merge report)."""
    from ifvit.weights.loftr import load_arrays
    from ifvit.weights.merge import merge

    golden = np.load(shared_dir / "golden" / "loftr_student_golden.npz")
    a, b = (jnp.asarray(golden[name][None] / 255, jnp.float32) for name in ("image0", "image1"))
    model = DenseModel(**STUDENT)
    variables = jax.eval_shape(model.init, jax.random.key(0), a, b)
    arrays, dropped = load_arrays(shared_dir / "golden" / "loftr_student.pt")
    variables, report = merge(
        variables,
        arrays,
        layer_kinds=model.layer_kinds,
        backbone=model.backbone,
        source="loftr_student.pt",
        dropped=dropped,
    )
    return golden, jax.jit(model.apply)(variables, a, b), report


def test_every_array_of_the_coarse_path_is_merged(stages):
    _, _, report = stages
    assert report.groups["transformer"] == (40, 40)
    assert report.groups["backbone"] == (101, 115)
    assert report.fresh == ()


@pytest.mark.parametrize(
    "name, ours",
    [
        ("backbone0", lambda out: out.backbone_a.transpose(0, 3, 1, 2)),
        ("backbone1", lambda out: out.backbone_b.transpose(0, 3, 1, 2)),
        ("tokens0", lambda out: out.tokens_a),
        ("tokens1", lambda out: out.tokens_b),
        ("coarse0", lambda out: out.coarse_a),
        ("coarse1", lambda out: out.coarse_b),
        ("conf", lambda out: jnp.exp(out.log_p)),
    ],
)
def test_stage_agrees(stages, name, ours):
    golden, out, _ = stages
    np.testing.assert_allclose(ours(out), golden[name], atol=1e-4, rtol=0)
