"""Which official file weights come from, kept through conversions."""

import json
import subprocess
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save_file

from ifvit.weights import Provenance, convert, convert_state_dict, read_weights, write_npz
from ifvit.weights.official import MAX_TEXT, OFFICIAL, Official, blob_id, describe, warnings
from tests.helpers.torch_zip import official_state, whole_state, write_torch_zip

OUTDOOR, INDOOR_NEW = OFFICIAL
CONFIG = {"temp_bug_fix": False, "num_layers": 8, "backbone": "resnet_fpn_8_2", "fine": "loftr"}


@pytest.fixture(scope="module")
def arrays():
    return convert_state_dict(whole_state(np.random.default_rng(0), narrow=True)).arrays


@pytest.fixture
def small(tmp_path):
    """A PyTorch file of two layers."""
    state = official_state(np.random.default_rng(0), layers=2, width=8)
    return write_torch_zip(tmp_path / "outdoor_ds.ckpt", {"state_dict": state})


def test_the_blob_id_is_gits(tmp_path):
    for content, known in (
        (b"", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"),
        (b"hello\n", "ce013625030ba8dba906f756967f9e9ca394464a"),
    ):
        (tmp_path / "file").write_bytes(content)
        assert blob_id(tmp_path / "file") == known
    (tmp_path / "file").write_bytes(bytes(range(256)) * 2**13)
    git = subprocess.run(["git", "hash-object", tmp_path / "file"], capture_output=True, text=True, check=True)
    assert blob_id(tmp_path / "file") == git.stdout.strip()


def test_the_official_files():
    assert OFFICIAL == {
        "a8c45b0ab725f933c45f001effae25f22a4574dd": ("outdoor_ds.ckpt", False),
        "e7cb02c2c629d50e24ec9ecacf4981904979907b": ("indoor_ds_new.ckpt", True),
    }


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("outdoor_ds.ckpt", False),
        ("indoor_ds.ckpt", False),
        ("outdoor_ot.ckpt", False),
        ("loftr_outdoor.ckpt", False),
        ("loftr_indoor.ckpt", False),
        ("Indoor_DS_new.ckpt", True),
        ("loftr_indoor_ds_new.ckpt", True),
        ("indoor_new.pt", True),
        ("loftr_transformer.npz", None),
        ("outdoors.npz", None),
    ],
)
def test_what_a_name_says(name, needed):
    assert Provenance(name).hint is needed


def test_an_official_file_is_told_by_its_content_and_still_after_conversions(small, tmp_path, monkeypatch):
    monkeypatch.setitem(OFFICIAL, blob_id(small), Official("indoor_ds_new.ckpt", True))
    names = ["a.npz", "b.safetensors", "c.safetensors", "d.npz"]
    for before, after in zip([small.name, *names], names, strict=False):
        convert(tmp_path / before, tmp_path / after)
    for name in names:
        weights = read_weights(tmp_path / name)
        assert weights.origin == Provenance("outdoor_ds.ckpt", blob_id(small), True)
        text = describe(name, weights.origin, weights.arrays, {})
        assert text.startswith(f"{name}, made from outdoor_ds.ckpt: LoFTR's official indoor_ds_new.ckpt, byte for byte")
        assert "needs dense.temp_bug_fix=true\n" in text  # not what the name says


def test_another_file_is_told_by_its_name_and_said_to_be(small):
    weights = read_weights(small)
    text = describe(small.name, weights.origin, weights.arrays, {})
    assert text.startswith("outdoor_ds.ckpt: not byte for byte one of the official files known here")
    assert f"(git blob id {blob_id(small)})" in text
    assert "needs dense.temp_bug_fix=false, going by the name outdoor_ds.ckpt alone" in text
    assert text.endswith("holds 2 transformer layers")
    (warning,) = warnings(weights.origin, weights.arrays, **CONFIG | {"temp_bug_fix": True})
    assert "going by the name outdoor_ds.ckpt alone; the config has true" in warning


def test_what_a_file_holds(arrays):
    text = describe("x.npz", Provenance("x.npz", "0" * 40), arrays, {})
    assert "may need dense.temp_bug_fix=false" in text
    assert text.endswith("8 transformer layers, the backbone resnet_fpn_8_2 with its fine map, the fine stage")
    transport = official_state(np.random.default_rng(0), layers=2, width=8, prefix="")
    converted = convert_state_dict(transport | {"coarse_matching.bin_score": np.ones(())})
    text = describe("x", Provenance("x"), converted.arrays, converted.dropped)
    assert text.endswith("optimal transport (an _ot file)")


def test_warnings_of_a_config_that_does_not_suit(arrays):
    known = Provenance("outdoor_ds.ckpt", OUTDOOR, False)
    assert warnings(known, arrays, **CONFIG) == ()
    position, more = warnings(known, arrays, temp_bug_fix=True, num_layers=4, backbone="resnet18", fine="none")
    assert position == "outdoor_ds.ckpt needs dense.temp_bug_fix=false; the config has true, another position code"
    assert more == (
        "the file has more than the model uses: 8 layers (dense.num_layers=4), the backbone resnet_fpn_8_2 "
        "(dense.backbone=resnet18), the fine stage (dense.fine=none)"
    )
    without = {name for name in arrays if name.startswith("backbone/")}
    assert warnings(known, without, **CONFIG | {"temp_bug_fix": True}) == ()  # the code is the transformer's
    assert warnings(Provenance("x.npz", "0" * 40), arrays, **CONFIG | {"temp_bug_fix": True}) == ()


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{",
        "[]",
        "3",
        "null",
        b"\xff\xfe",
        '{"source": "a"}',
        '{"source": 3, "blob": null, "temp_bug_fix": null}',
        '{"source": "a", "blob": "g", "temp_bug_fix": null}',
        '{"source": "a", "blob": [1], "temp_bug_fix": null}',
        '{"source": "a", "blob": null, "temp_bug_fix": 1}',
        '{"source": "a", "blob": null, "temp_bug_fix": "true"}',
        '{"source": "%s", "blob": null, "temp_bug_fix": null}' % ("a" * MAX_TEXT),
        "[" * MAX_TEXT,
        "9" * 100_000,
    ],
)
def test_a_strangers_text_is_no_provenance(text):
    assert Provenance.from_text(text) is None


def test_names_cannot_harm_a_terminal_or_fill_a_file():
    hostile = json.dumps({"source": "\x1b[2Jok\n", "blob": None, "temp_bug_fix": True})
    assert Provenance.from_text(hostile).source == "?[2Jok?"
    for name in ("a" * 300, "\U0001f98b" * 300):
        again = Provenance.from_text(Provenance(name, OUTDOOR, False).to_text())
        assert name.startswith(again.source) and len(again.source) > 50


def test_files_without_a_provenance_or_with_a_strangers_are_read(arrays, tmp_path):
    write_npz(tmp_path / "plain.npz", arrays)
    write_npz(tmp_path / "odd.npz", arrays, "packed by somebody")
    state = official_state(np.random.default_rng(0), layers=1, width=8)
    save_file(state, tmp_path / "odd.safetensors", {"ifvit": "{", "format": "np"})
    for name in ("plain.npz", "odd.npz", "odd.safetensors"):
        assert read_weights(tmp_path / name).origin == Provenance(name, blob_id(tmp_path / name))


def test_numpy_does_not_mind_the_comment(small, tmp_path):
    convert(small, tmp_path / "w.npz")
    with np.load(tmp_path / "w.npz", allow_pickle=False) as loaded:
        assert len(loaded.files) == 20
    with zipfile.ZipFile(tmp_path / "w.npz") as archive:
        assert json.loads(archive.comment)["source"] == "outdoor_ds.ckpt" and archive.testzip() is None
