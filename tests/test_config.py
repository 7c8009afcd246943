import copy

import pytest

from ifvit import config
from ifvit.launch import compose_tree


@pytest.fixture(scope="module")
def composed():
    return compose_tree([])


@pytest.fixture
def tree(composed):
    return copy.deepcopy(composed)


def problems_of(tree):
    with pytest.raises(config.ConfigError) as caught:
        config.build(tree)
    return caught.value.problems


def changed(tree, path, value):
    *groups, key = path.split(".")
    for group in groups:
        tree = tree[group]
    tree[key] = value


def test_the_surface_is_frozen():
    """What people type. A change here breaks commands in their notebooks: say so in CHANGELOG.md."""
    assert " ".join(config.known_keys()) == (
        "stage seed run_dir init.resume_from init.dense init.matcher "
        "dense.use_loftr dense.loftr_pretrained_ckpt dense.merged_lr "
        "dense.temp_bug_fix dense.backbone dense.stem_width dense.stage_widths dense.d_model dense.num_heads "
        "dense.num_layers dense.attention dense.norm_eps dense.temperature dense.fine dense.threshold dense.border "
        "dense.max_matches matcher.vector matcher.shared matcher.enhancement "
        "matcher.global_weight matcher.local_weight data.source data.root data.databases data.fvc_year data.file_ppi "
        "data.mixture.NAME.source data.mixture.NAME.root data.mixture.NAME.databases data.mixture.NAME.fvc_year "
        "data.mixture.NAME.file_ppi data.mixture.NAME.val_fingers data.mixture.NAME.weight data.split data.fingers "
        "data.renew data.val_fingers data.ppi data.image_size data.max_damaged data.ridge_mask data.threads "
        "data.memory_gb data.cache_dir "
        "data.pairs.rotation_deg data.pairs.shift_px data.pairs.elastic_px data.pairs.partial_share "
        "data.pairs.impostor_share data.pairs.noise data.pairs.dryness data.pairs.pressure "
        "data.pairs.registration_noise_deg data.pairs.registration_noise_px "
        "data.impression.rotation_deg data.impression.shift_mm data.impression.distortion data.impression.moisture "
        "data.impression.wear data.impression.creases data.impression.breaks data.impression.noise "
        "data.impression.sensors loss.form "
        "loss.focal_alpha loss.focal_gamma loss.negative_weight loss.fine_weight loss.fine_matches loss.fine_teacher "
        "loss.matcher.dense_weight loss.matcher.embedding_weight loss.matcher.embedding_margin loss.matcher.arc_weight "
        "loss.matcher.arc_scale loss.matcher.arc_margin "
        "optimizer.lr optimizer.weight_decay "
        "optimizer.beta1 optimizer.beta2 optimizer.warmup_steps optimizer.final_lr optimizer.clip_norm "
        "trainer.device trainer.precision trainer.batch_size trainer.accumulate trainer.max_steps "
        "trainer.max_hours trainer.log_every trainer.validate_every trainer.checkpoint_every trainer.val_pairs "
        "trainer.overfit"
    )


def test_keys_that_may_change_exist():
    assert set(config.MAY_CHANGE) <= set(config.known_keys())


def test_yaml_and_schema_agree(tree):
    built = config.build(tree)
    assert built.dense.backbone is config.Backbone.resnet18
    assert config.build(config.to_dict(built)) == built  # JSON's types come back as they were


def test_strides_are_the_models_own():
    from ifvit.models.backbones import DEFAULT_WIDTHS, FINE_STRIDES, STRIDES, fine_width

    assert {str(k): v for k, v in config.STRIDES.items()} == dict(STRIDES)
    assert {str(k) for k in config.FINE_STAGES} == set(FINE_STRIDES)
    for name, stage in config.FINE_STAGES.items():
        assert fine_width(str(name)) == DEFAULT_WIDTHS[str(name)][1][stage] == config.DEFAULT_FINE_WIDTH
    for name, stages in config.STAGES.items():
        widths = DEFAULT_WIDTHS[str(name)]
        flat = [w for part in widths for w in (part if isinstance(part, tuple) else (part,))]
        assert len(flat) == 1 + stages and flat[-1] == config.DEFAULT_COARSE_WIDTH


def test_an_unknown_key_is_named_with_its_neighbour(tree):
    tree["dense"]["temprature"] = 1
    assert problems_of(tree) == ["dense.temprature: unknown key; did you mean dense.temperature?"]


def test_a_missing_key_is_named(tree):
    del tree["trainer"]["max_steps"]
    assert problems_of(tree) == ["trainer.max_steps: missing; every key needs a value"]


@pytest.mark.parametrize(
    "path, value, message",
    [
        ("trainer.batch_size", "16", "trainer.batch_size: expected a whole number, got '16'"),
        ("trainer.batch_size", True, "trainer.batch_size: expected a whole number, got True"),
        ("trainer.max_steps", 1.5, "trainer.max_steps: expected a whole number, got 1.5"),
        ("optimizer.lr", "big", "optimizer.lr: expected a number, got 'big'"),
        ("dense.use_loftr", 1, "dense.use_loftr: expected true or false, got 1"),
        (
            "dense.backbone",
            "vgg",
            "dense.backbone: expected one of resnet18, resnet_fpn_8_2, resnet_fpn_16_4",
        ),
        ("dense", None, "dense: expected a group of keys, got None"),
        ("dense.stage_widths", [1, "a", 3], "dense.stage_widths: expected a list of whole numbers or null"),
        ("data.image_size", [100, 128], "data.image_size: 100 is not a multiple of 16"),
        ("data.databases", 3.5, "data.databases: expected a list of texts or null, got 3.5"),
        ("data.root", 3.5, "data.root: expected a path or null, got 3.5"),
        ("data.image_size", [128], "data.image_size: expected a side or [height, width]"),
        ("data.image_size", 0, "data.image_size: 0 is not a multiple of 16"),
        ("dense.num_heads", 3, "dense.num_heads: 3 heads do not divide the width dense.d_model=256"),
        ("dense.num_heads", 0, "dense.num_heads: expected at least 1"),
        ("dense.fine", "loftr", "dense.fine: resnet18 has no fine map; set dense.backbone to resnet_fpn_8_2 or"),
        ("dense.fine", True, "dense.fine: expected one of none, loftr, got True"),
        ("loss.fine_matches", 0, "loss.fine_matches: expected at least 1, got 0"),
        ("loss.fine_teacher", 1.5, "loss.fine_teacher: expected a share, 0 to 1, got 1.5"),
        ("loss.fine_weight", -1, "loss.fine_weight: expected 0 or more, got -1"),
        ("dense.num_layers", 3, "dense.num_layers: layers come in pairs"),
        ("dense.d_model", 128, "dense.d_model: the transformer takes the last stage's width 256"),
        (
            "dense.loftr_pretrained_ckpt",
            "w.npz",
            "dense.loftr_pretrained_ckpt: LoFTR's weights only fit LoFTR's",
        ),
        ("data.source", "fvc", "data.root: data=fvc needs the folder"),
        ("data.val_fingers", ["101"], "data.val_fingers: synthetic fingers have no names"),
        ("data.val_fingers", 64, "data.fingers: 64 fingers leave none to train on"),
        ("data.pairs.elastic_px", 9, "data.pairs.elastic_px: expected at most 3.84 px"),
        ("data.pairs.dryness", 0.9, "data.pairs: dryness and pressure"),
        ("data.renew", -1, "data.renew: expected 0 or more"),
        ("data.impression.moisture", 0.9, "data.impression.moisture: expected 0 to 0.7, got 0.9"),
        ("data.impression.wear", -1, "data.impression.wear: expected 0 to 3, got -1"),
        ("data.impression.creases", 3, "data.impression.creases: expected 0 to 2, got 3"),
        ("data.impression.breaks", -1, "data.impression.breaks: expected 0 to 2, got -1"),
        ("data.impression.shift_mm", [6, 13], "data.impression.shift_mm: expected [across, along] the finger in mm"),
        ("data.impression.shift_mm", [6], "data.impression.shift_mm: expected [across, along] the finger in mm"),
        ("data.impression.shift_mm", -1, "data.impression.shift_mm: expected [across, along] the finger in mm"),
        ("data.impression.shift_mm", "far", "data.impression.shift_mm: expected a number or a list, each a number"),
        ("data.impression.sensors", [], "data.impression.sensors: expected at least one sensor"),
        ("data.impression.sensors", ["radar"], "data.impression.sensors: expected a list, each one of optical"),
        ("trainer.accumulate", 5, "trainer.accumulate: 5 does not divide trainer.batch_size=32"),
        ("optimizer.lr", 0, "optimizer.lr: expected above 0"),
        ("optimizer.lr", float("nan"), "optimizer.lr: expected a number, got nan"),
        ("run_dir", " ", "run_dir: expected a folder"),
    ],
)
def test_each_refusal_is_one_plain_line(tree, path, value, message):
    changed(tree, path, value)
    problems = problems_of(tree)
    assert any(line.startswith(message) for line in problems), problems
    assert all("\n" not in line for line in problems)


def test_heads_must_divide_the_fine_map_too(tree):
    changed(tree, "dense.backbone", "resnet_fpn_8_2")
    changed(tree, "dense.fine", "loftr")
    changed(tree, "dense.stage_widths", [12, 16, 256])
    (message,) = problems_of(tree)
    assert message.startswith(
        "dense.num_heads: 8 heads do not divide 12, the width of resnet_fpn_8_2's fine map (number 1"
    )


def test_a_run_of_before_a_key_existed_goes_on(tree):
    """Its config lacks the key; the value that leaves such a run as it was is no difference, another one is."""
    old = copy.deepcopy(tree)
    del old["dense"]["fine"], old["loss"]["fine_weight"], old["data"]["renew"], old["data"]["impression"]
    assert config.differences(old, tree) == []
    changed(tree, "dense.fine", "loftr")
    assert config.differences(old, tree) == ["dense.fine: none -> loftr"]


def test_all_problems_are_named_at_once(tree):
    changed(tree, "dense.num_heads", 3)
    changed(tree, "trainer.log_every", 0)
    assert len(problems_of(tree)) == 2


def test_differences_spare_what_may_change(tree):
    other = copy.deepcopy(tree)
    changed(other, "trainer.max_steps", 7)
    changed(other, "data.threads", 0)
    assert config.differences(tree, other) == []
    changed(other, "optimizer.lr", 0.5)
    assert config.differences(tree, other) == ["optimizer.lr: 0.001 -> 0.5"]


@pytest.fixture
def mixture():
    return compose_tree(["data=mixture", "data.mixture.fvc2002.root=/data/fvc2002"])


def test_a_mixture_holds_what_is_in_use(mixture):
    assert list(config.build(mixture).data.parts) == ["synthetic", "fvc2002"]
    mixture["data"]["mixture"]["synthetic"]["weight"] = 0.0
    mixture["data"]["mixture"]["mine"] = {"source": "folder", "root": "/data/mine"}
    built = config.build(mixture)
    assert list(built.data.parts) == ["fvc2002", "mine"] and built.data.parts["mine"].weight == 1
    assert config.build(config.to_dict(built)) == built and hash(built.data) == hash(config.build(mixture).data)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("source", "mixture", "data.mixture.fvc2002.source: a mixture cannot hold a mixture"),
        ("weight", -1, "data.mixture.fvc2002.weight: expected 0 or more, or null, got -1"),
        ("weight", None, "data.mixture: the weights of the sources in use must be all numbers, or all null"),
        ("val_fingers", 0, "data.mixture.fvc2002.val_fingers: expected at least one finger"),
        ("fvc_year", 2001, "data.mixture.fvc2002.fvc_year: expected 2000, 2002, 2004 or 2006, got 2001"),
        ("file_ppi", 0.0, "data.mixture.fvc2002.file_ppi: expected 50 to 10000, got 0.0"),
        ("wieght", 1, "data.mixture.fvc2002.wieght: unknown key; did you mean data.mixture.fvc2002.weight?"),
    ],
)
def test_each_source_of_a_mixture_is_checked(mixture, key, value, message):
    mixture["data"]["mixture"]["fvc2002"] |= {"fvc_year": None, key: value}
    (line,) = problems_of(mixture)
    assert line.startswith(message)


@pytest.mark.parametrize("key, value", [("root", "/x"), ("databases", ["DB1_A"]), ("file_ppi", 500.0),
                                        ("fvc_year", 2002), ("val_fingers", ["109"])])  # fmt: skip
def test_keys_of_one_source_are_not_ignored_in_a_mixture(mixture, key, value):
    mixture["data"][key] = value
    assert problems_of(mixture) == [f"data.{key}: data=mixture does not read it; set data.mixture.NAME.{key}"]


def test_sources_that_are_not_in_use_change_nothing(mixture):
    before = config.to_dict(config.build(mixture))
    mixture["data"]["mixture"]["sd4"]["val_fingers"] = 7
    mixture["data"]["mixture"]["new"] = {"source": "folder"}  # of a later release
    assert config.differences(before, config.to_dict(config.build(mixture))) == []


@pytest.mark.parametrize("overrides, message", [
    (["data=fvc", "data.root="], "data.root: expected a folder, got an empty text"),
    (["data=fvc", "data.root=/x", "data.file_ppi=50000"], "data.file_ppi: expected 50 to 10000, got 50000"),
    (["data=sd4", "data.root=/x", "data.fvc_year=2002"], "data.fvc_year: only of data=fvc; this is sd4"),
    (["data=paper"], "data.mixture: none of its sources is in use"),
])  # fmt: skip
def test_misfits_of_a_source(overrides, message):
    (line,) = problems_of(compose_tree(overrides))
    assert line.startswith(message)


def test_a_source_that_a_mixture_does_not_know():
    message = config.nearest_keys("data.mixture.fvc202.root")
    assert "configs/data/mixture.yaml" in message and "'+data.mixture.fvc202={source: folder, root: FOLDER}'" in message


def test_a_mixture_of_nothing_and_other_misfits(mixture):
    parts = mixture["data"]["mixture"]
    mixture["trainer"]["batch_size"] = 1
    assert "cannot hold one of each of 2 sources" in problems_of(mixture)[0]
    mixture["trainer"]["batch_size"] = 8
    parts["more"] = {"source": "synthetic"}
    assert problems_of(mixture) == ["data.mixture: at most one of its sources can be synthetic"]
    for part in parts.values():
        part |= {"root": None, "weight": 0.0}
    assert "none of its sources is in use" in problems_of(mixture)[0]
    mixture["data"]["mixture"] = ["fvc"]
    assert problems_of(mixture) == ["data.mixture: expected a group of sources by name, got ['fvc']"]


def test_a_folder_may_move_and_a_source_may_not_change(mixture):
    before = config.to_dict(config.build(mixture))
    mixture["data"]["mixture"]["fvc2002"] |= {"root": "/elsewhere", "weight": 2.0}
    after = config.to_dict(config.build(mixture))
    assert config.differences(before, after) == ["data.mixture.fvc2002.weight: 1.0 -> 2.0"]


@pytest.mark.parametrize("source", sorted(str(source) for source in config.Source))
def test_every_source_has_its_yaml(source):
    root = {"synthetic": [], "mixture": ["data.mixture.sd4.root=/x"]}.get(source, ["data.root=/x"])
    stage = ["stage=matcher", "init.dense=/run"] if source == "prepared" else []
    built = config.build(compose_tree([f"data={source}", *root, *stage]))
    assert built.data.source == source
    if source not in ("synthetic", "mixture"):
        assert problems_of(compose_tree([f"data={source}", *stage]))[0].startswith(f"data.root: data={source} needs")


@pytest.mark.parametrize("overrides, message", [
    (["data=prepared", "data.root=/x"], "data.source: prepared pairs are Module 2's; add stage=matcher"),
    (["data=mixture", "data.mixture.prepared.root=/x"], "data.mixture.prepared.source: prepared pairs are Module 2's"),
    (["stage=matcher", "init.dense=/run", "data=fvc", "data.root=/x"], "data.source: Module 2 trains on pairs that "
     "were aligned beforehand; prepare them first: python -m ifvit data prepare"),
    (["stage=matcher", "init.dense=/run", "data=mixture", "data.mixture.sd4.root=/x"],
     "data.mixture.sd4.source: Module 2 trains on pairs"),
    (["stage=matcher", "init.dense=/run", "data=prepared", "data.root=/x", "data.file_ppi=500"],
     "data.file_ppi: prepared prints have their resolution"),
])  # fmt: skip
def test_real_prints_are_prepared_for_module_2_and_only_for_it(overrides, message):
    (line,) = problems_of(compose_tree(overrides))
    assert line.startswith(message)


def test_the_papers_data():
    built = config.build(compose_tree(["data=paper", "data.mixture.sd302a.root=/x", "data.mixture.fvc2002.root=/y"]))
    assert built.data.split == "paper" and list(built.data.parts) == ["fvc2002", "sd302a"]
    assert {part.weight for part in built.data.parts.values()} == {None}


def test_a_leading_tilde_is_the_home_folder_in_every_path(mixture, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    keys = [key.replace("NAME", "sd4") for key in config.known_keys() if config.is_path_key(key.replace("NAME", "x"))]
    assert sorted(keys) == [
        "data.cache_dir", "data.mixture.sd4.root", "data.root", "data.split", "dense.loftr_pretrained_ckpt",
        "init.dense", "init.matcher", "init.resume_from", "run_dir",
    ]  # fmt: skip
    for key in keys:
        changed(mixture, key, "~/x")
    changed(mixture, "data.source", "~/x")  # no path
    tree = config.expand_homes(mixture)
    for key in keys:
        value = tree
        for part in key.split("."):
            value = value[part]
        assert value == "/home/ada/x", key
    assert tree["data"]["source"] == "~/x"


def test_no_folder_begins_with_a_tilde(tree):
    changed(tree, "run_dir", "~nobody-at-all")
    changed(tree, "data.root", "./~nobody-at-all")
    with pytest.raises(config.ConfigError) as caught:
        config.expand_homes(tree)
    assert caught.value.problems == [
        "run_dir: ~nobody-at-all: there is no user nobody-at-all; if it is the name of a file, type ./~nobody-at-all"
    ]


@pytest.mark.parametrize(
    ("key", "value", "typed"),
    [
        ("seed", "1,2", "seed=1,2"),
        ("optimizer.lr", "1e-3, 3e-4", "optimizer.lr=1e-3,3e-4"),
        ("dense.backbone", "resnet18,loftr_resnetfpn_8_2", "dense.backbone=resnet18,loftr_resnetfpn_8_2"),
        ("seed", "range(1,5)", "'seed=range(1,5)'"),
    ],
)
def test_a_text_of_several_values_is_told_how_to_sweep(tree, key, value, typed):
    changed(tree, key, value)
    (line,) = problems_of(tree)
    assert line.endswith(f"got {value!r}; several values are a sweep: type -m {typed}")


def test_a_text_of_one_value_is_no_sweep(tree):
    changed(tree, "seed", "one")
    assert problems_of(tree) == ["seed: expected a whole number, got 'one'"]
