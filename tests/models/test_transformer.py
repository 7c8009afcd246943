import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit.models.transformer import LoFTRLayer, PlainLayer, Transformer, position_code

pytestmark = pytest.mark.slow


C, HEADS = 8, 2
KINDS = ("self", "cross", "self", "cross")


def count(tree):
    return len(jax.tree.leaves(tree)), sum(int(np.prod(x.shape)) for x in jax.tree.leaves(tree))


def layer_norm(x, params, eps):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)
    return x * params["scale"] + params["bias"]


def loftr_layer(params, x, source, eps1, eps2):
    """The encoder layer of one image (N, C) as the formula stands, in float64."""
    feature = lambda t: np.where(t > 0, t, np.expm1(t)) + 1  # noqa: E731
    q, k, v = (t @ params[f"{n}_proj"]["kernel"] for n, t in (("q", x), ("k", source), ("v", source)))
    message = np.zeros_like(q)
    for head in range(HEADS):
        part = slice(head * C // HEADS, (head + 1) * C // HEADS)
        weight = feature(q[:, part]) @ feature(k[:, part]).T
        message[:, part] = weight @ v[:, part] / (weight.sum(1, keepdims=True) + 1e-6)
    message = layer_norm(message @ params["merge"]["kernel"], params["norm1"], eps1)
    hidden = np.maximum(np.concatenate([x, message], -1) @ params["mlp_0"]["kernel"], 0)
    return x + layer_norm(hidden @ params["mlp_2"]["kernel"], params["norm2"], eps2)


@pytest.fixture
def tokens(rng):
    return [rng.normal(size=(2, n, C)).astype(np.float32) for n in (6, 9)]


def transformer(kinds=KINDS, **fields):
    return Transformer(kinds, HEADS, C, **fields)


@pytest.mark.parametrize("fixed", [True, False])
def test_position_code_formula(fixed):
    height, width, channels = 3, 5, 32
    code = np.asarray(position_code(height, width, channels, temp_bug_fix=fixed))
    assert code.shape == (height, width, channels) and code.dtype == np.float32
    for row, column, k in np.ndindex(height, width, channels // 4):
        frequency = np.exp(-2 * k * (np.log(10000) / (channels / 2) if fixed else 1))
        x, y = (column + 1) * frequency, (row + 1) * frequency
        expected = [np.sin(x), np.cos(x), np.sin(y), np.cos(y)]
        np.testing.assert_allclose(code[row, column, 4 * k : 4 * k + 4], expected, atol=1e-5)


def test_position_code_needs_four_channels_each():
    with pytest.raises(ValueError, match="divisible by 4, got 6"):
        position_code(2, 2, 6, True)


def test_loftr_transformer_is_the_formula(tokens, random_variables):
    model = transformer()
    params = random_variables(model, *tokens)["params"]
    got = jax.jit(model.apply)({"params": params}, *tokens)
    exact = jax.tree.map(lambda p: np.asarray(p, np.float64), params)
    for image in range(2):
        a, b = (np.asarray(t[image], np.float64) for t in tokens)
        for index, kind in enumerate(KINDS):
            layer = lambda x, source, p=exact[f"layers_{index}"]: loftr_layer(p, x, source, 1e-5, 1e-5)  # noqa: E731
            if kind == "self":
                a, b = layer(a, a), layer(b, b)
            else:
                a = layer(a, b)
                b = layer(b, a)
        np.testing.assert_allclose(got[0][image], a, atol=2e-5)
        np.testing.assert_allclose(got[1][image], b, atol=2e-5)


@pytest.mark.parametrize("plain", [False, True])
def test_cross_is_sequential(plain, tokens, random_variables):
    model = transformer(("cross",), plain=plain)
    params = random_variables(model, *tokens)["params"]
    norm = params.pop("final_norm", None)
    layer = PlainLayer(HEADS) if plain else LoFTRLayer(HEADS)
    finish = lambda x: layer_norm(np.asarray(x), norm, 1e-5) if plain else x  # noqa: E731
    run = jax.jit(lambda x, source: layer.apply({"params": params["layers_0"]}, x, source))
    a, b = tokens
    new_a = run(a, b)
    everything = {"params": params | ({"final_norm": norm} if plain else {})}
    apply = jax.jit(model.apply)
    got_a, got_b = apply(everything, a, b)
    np.testing.assert_allclose(got_a, finish(new_a), atol=1e-5)
    np.testing.assert_allclose(got_b, finish(run(b, new_a)), atol=1e-5)
    assert np.abs(got_b - finish(run(b, a))).max() > 1e-3
    swapped_b, _ = apply(everything, b, a)
    assert np.abs(got_b - swapped_b).max() > 1e-3


def test_one_set_of_weights_of_the_official_size():
    for layers, arrays, parameters in ((4, 40, 2_625_536), (8, 80, 5_251_072)):
        model = Transformer(("self", "cross") * (layers // 2), 8, 256)
        shapes = jax.eval_shape(model.init, jax.random.key(0), *[jnp.zeros((1, 4, 256))] * 2)
        assert count(shapes["params"]) == (arrays, parameters)
        assert sorted(shapes["params"]) == [f"layers_{i}" for i in range(layers)]


def test_self_treats_both_images_alike(tokens, random_variables):
    model = transformer(("self",))
    params = random_variables(model, *tokens)["params"]
    a, also_a = model.apply({"params": params}, tokens[0], tokens[0])
    np.testing.assert_array_equal(a, also_a)


@pytest.mark.parametrize("eps", [1e-7, 1e-5])
def test_norm_eps_is_used_in_both_norms(eps, tokens, random_variables):
    """With variances near eps the norms' output depends on it; ordinary inputs would not tell."""
    layer = LoFTRLayer(HEADS, norm_eps=eps)
    x, source = tokens
    params = random_variables(layer, x, source)["params"]
    for name in ("merge", "mlp_2"):
        params[name]["kernel"] = params[name]["kernel"] * 1e-3
    got = jax.jit(layer.apply)({"params": params}, x, source)[0]
    exact = jax.tree.map(lambda p: np.asarray(p, np.float64), params)
    x, source = x[0].astype(np.float64), source[0].astype(np.float64)
    np.testing.assert_allclose(got, loftr_layer(exact, x, source, eps, eps), atol=1e-4)
    for wrong in ((eps * 10, eps), (eps, eps * 10)):
        assert np.abs(got - loftr_layer(exact, x, source, *wrong)).max() > 1e-2


@pytest.mark.parametrize("fields", [dict(attention="linear"), dict(attention="full"), dict(plain=True)], ids=str)
def test_padded_cells_change_nothing_for_others(fields, tokens, rng, random_variables):
    model = transformer(**fields)
    params = random_variables(model, *tokens)["params"]
    masks = [np.ones(t.shape[:2], np.float32) for t in tokens]
    masks[0][:, 4:], masks[1][1, 5:] = 0, 0
    noise = [rng.normal(size=t.shape) * 3 for t in tokens]
    others = [np.where(m[..., None] > 0, t, n).astype(np.float32) for t, m, n in zip(tokens, masks, noise, strict=True)]
    run = jax.jit(lambda t, *masks: model.apply({"params": params}, *t, *masks))
    for out, other, mask in zip(run(tokens, *masks), run(others, *masks), masks, strict=True):
        np.testing.assert_allclose(out[mask > 0], other[mask > 0], atol=1e-5)
    difference = np.abs(run(tokens)[0] - run(tokens, *masks)[0])
    assert difference[masks[0] > 0].max() > 1e-3


def test_attention_kinds_differ(tokens, random_variables):
    params = random_variables(transformer(), *tokens)["params"]
    linear, full = (
        jax.jit(transformer(attention=kind).apply)({"params": params}, *tokens)[0] for kind in ("linear", "full")
    )
    assert np.abs(linear - full).max() > 1e-3


def test_plain_layer_is_pre_norm_with_a_final_norm(tokens, random_variables):
    model = transformer(plain=True)
    params = random_variables(model, *tokens)["params"]
    assert not set(params["layers_0"]) & {"q_proj", "k_proj", "v_proj", "merge", "mlp_0", "mlp_2", "norm1"}
    assert params["layers_0"]["mlp_in"]["kernel"].shape == (C, 4 * C)
    silent = jax.tree.map(jnp.zeros_like, params)
    silent["final_norm"]["scale"] = jnp.ones(C)
    a, _ = jax.jit(model.apply)({"params": silent}, *tokens)  # residuals alone, normalised once at the end
    np.testing.assert_allclose(a, layer_norm(tokens[0], {"scale": 1, "bias": 0}, 1e-5), atol=1e-5)


def test_kernels_start_xavier_uniform():
    model = Transformer(("self",), 4, 64)
    params = jax.jit(model.init)(jax.random.key(0), *[jnp.zeros((1, 4, 64))] * 2)["params"]["layers_0"]
    for name in ("q_proj", "merge", "mlp_0", "mlp_2"):
        kernel = np.asarray(params[name]["kernel"])
        bound = np.sqrt(6 / sum(kernel.shape))
        assert 0.95 * bound < np.abs(kernel).max() <= bound
        assert kernel.std() == pytest.approx(bound / np.sqrt(3), rel=0.05)


def test_what_cannot_be_built_is_said(tokens):
    with pytest.raises(ValueError, match="'self' and 'cross'.*across"):
        transformer(("self", "across")).init(jax.random.key(0), *tokens)
    with pytest.raises(ValueError, match="attention is one of.*'soft'"):
        transformer(attention="soft").init(jax.random.key(0), *tokens)
    with pytest.raises(ValueError, match="16 wide.*8"):
        Transformer(("self",), HEADS, 16).init(jax.random.key(0), *tokens)
