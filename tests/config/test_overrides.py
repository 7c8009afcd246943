import shlex

import pytest

from ifvit.config import ConfigError, overrides
from ifvit.launch import Configs, compose_tree, validated_config

pytestmark = pytest.mark.slow


def refusal(argument, sweep=False):
    with pytest.raises(ConfigError) as caught:
        overrides.quote_overrides([argument], sweep)
    (line,) = caught.value.problems
    return line


# What people paste, among it what Hydra's grammar refuses or reads as something else.
PATHS = [
    "lit/epoch=9-step=999.ckpt", "x_sweep/optimizer.lr=0.001,seed=1", "a,b", "/x/a ", " /x", "{a}", "{a: 1}",
    "[a]", "[1,2]",
    "#x", "$HOME/x", "50%", "prints (2)", "prints(2)", "str(5)", "/x/~y", "C:\\data", "über/指紋", "it's",
    'a"b', "'a'b",
    "true", "False", "2002", "0012", "1e3", "1_000", "+5", "1.", "nan", "x;y",
    "x&y", "a!b", "<a>", "`a`", "a:b", "x\ny",
    "tag(1)", "glob(*)", "x'",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_a_path_reaches_the_program_as_it_was_typed(path):
    keys = ["data.root", "data.mixture.sd4.root", "dense.loftr_pretrained_ckpt", "run_dir"]
    tree = compose_tree(["data=mixture", *(f"{key}={path}" for key in keys)])
    paths = [tree["data"]["root"], tree["data"]["mixture"]["sd4"]["root"], tree["dense"]["loftr_pretrained_ckpt"]]
    assert [str(read) for read in (*paths, tree["run_dir"])] == [path] * 4


@pytest.mark.parametrize("path", PATHS)
def test_a_path_that_the_program_prints_comes_back_from_a_shell(path):
    (argument,) = shlex.split(overrides.shell_override("data.root", path))
    for sweep in (False, True):
        (parsed,) = overrides.parse_overrides(overrides.quote_overrides([argument], sweep))
        assert not parsed.is_sweep_override() and str(parsed.value()) == path


def test_a_text_of_the_program_holds_no_interpolation():
    assert compose_tree([f"run_dir={overrides.literal('a${seed}/it')}"])["run_dir"] == "a${seed}/it"


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("null", None),
        ("'null'", "null"),
        ("'a,b'", "a,b"),
        ('"it\'s"', "it's"),
        (r"a\=b\,c", "a=b,c"),
        ("lr=${optimizer.lr}/${seed}", "lr=0.001/0"),
        ("${seed}", 0),
    ],
)
def test_what_has_a_meaning_on_purpose_keeps_it(value, read):
    assert compose_tree([f"data.cache_dir={value}"])["data"]["cache_dir"] == read


@pytest.mark.parametrize("argument", ["seed=1", "~seed", "+data.mixture.x={source: folder}", "data.databases=[A,B]"])
def test_what_hydra_takes_stays(argument):
    assert overrides.quote_overrides([argument]) == [argument]


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("seed", "'seed': expected KEY=VALUE, like seed=1"),
        ("=5", "'=5': expected KEY=VALUE, like seed=1"),
        ("", "'': expected KEY=VALUE, like seed=1"),
        ("~/prints", "'~/prints': expected KEY=VALUE, like seed=1"),
        ("data.ro ot=/x", "'data.ro ot=/x': expected KEY=VALUE, like seed=1"),
        ("data.databases=[A=1]", "data.databases=[A=1]: the value cannot be read; within a list, a group or several"),
    ],
)
def test_an_argument_without_a_reading_is_named(argument, line):
    assert refusal(argument).startswith(line)


def test_all_of_them_are_named_at_once():
    with pytest.raises(ConfigError) as caught:
        overrides.quote_overrides(["seed", "data.root=a=b", "x y=1"])
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        ("a=1,b", ["a=1", "b"]),
        ("~/a, ~/b", ["~/a", "~/b"]),
        ("it's,that's", ["it's", "that's"]),
        ("'a,b',c", ["a,b", "c"]),
        (r"a\,b,c", ["a,b", "c"]),
        ("2002,1e3,true,null", ["2002", "1e3", "true", "null"]),
        ("choice(a=1,1e3)", ["a=1", "1e3"]),
        ("${oc.env:A,b}/x,y", ["${oc.env:A,b}/x", "y"]),
        ("'x_sweep/optimizer.lr=0.001,seed=1',b", ["x_sweep/optimizer.lr=0.001,seed=1", "b"]),
    ],
)
def test_in_a_sweep_a_comma_separates_paths(value, paths):
    (sweep,) = overrides.parse_overrides(overrides.quote_overrides([f"init.dense={value}"], sweep=True))
    values = overrides.parse_overrides([f"init.dense={value}" for value in overrides.sweep_values(sweep)])
    assert [str(override.value()) if override.value() is not None else "null" for override in values] == paths


def test_a_job_of_another_sweep_is_no_two_values():
    line = refusal("init.dense=x_sweep/optimizer.lr=0.001,seed=1", sweep=True)
    assert line.startswith("init.dense=x_sweep/optimizer.lr=0.001,seed=1: with -m a comma separates")
    assert "\"init.dense='x_sweep/optimizer.lr=0.001,seed=1'\"" in line
    assert "is empty" in refusal("init.dense=a,,b", sweep=True)
    assert "expected paths" in refusal("init.dense=range(1,3)", sweep=True)


def test_a_file_of_configs_may_be_called_by_a_number():
    assert overrides.quote_overrides(["experiment=2024", "seed=2024"]) == ["experiment='2024'", "seed=2024"]


@pytest.mark.parametrize(
    ("argument", "texts"),
    [
        ("data.databases=DB1_B", ["DB1_B"]),
        ("data.databases=101", ["101"]),
        ("data.databases=0012", ["0012"]),
        ("data.databases=1e3", ["1e3"]),
        ("data.databases=true", ["true"]),
        ("data.databases=A=1", ["A=1"]),
        ("data.databases='DB 1'", ["DB 1"]),
        ("data.databases=[DB1_B,DB2_B]", ["DB1_B", "DB2_B"]),
        ("data.databases=[101,0012,1e3,true]", ["101", "0012", "1e3", "true"]),
        ("data.databases=[]", []),
        ("data.databases=['1e3', A]", ["1e3", "A"]),
        ("data.databases=null", None),
    ],
)
def test_a_single_text_is_a_list_of_it(argument, texts):
    config = validated_config(["data=fvc", "data.root=x", argument])
    assert config.data.databases == (None if texts is None else tuple(texts))


def test_a_single_text_is_a_list_of_it_in_every_such_key(tmp_path):
    mixture = ["data=mixture", "data.mixture.sd302a.root=x", "data.mixture.sd302a.databases=A"]
    assert validated_config(mixture).data.parts["sd302a"].databases == ("A",)
    assert validated_config(["data.impression.sensors=inked"]).data.impression.sensors == ("inked",)
    fingers = ["data=fvc", "data.root=x"]
    assert validated_config([*fingers, "data.val_fingers=110"]).data.val_fingers == 110  # that many
    assert validated_config([*fingers, "data.val_fingers=[110]"]).data.val_fingers == ("110",)
    assert validated_config([*fingers, "data.val_fingers=left"]).data.val_fingers == ("left",)
    (tmp_path / "experiment").mkdir()
    for value, texts in (("DB1_B", ("DB1_B",)), ("101", ("101",)), ("[101, b]", ("101", "b"))):
        (tmp_path / "experiment" / "mine.yaml").write_text(
            f"# @package _global_\ndata:\n  source: fvc\n  root: x\n  databases: {value}\n"
        )
        assert validated_config(["experiment=mine"], Configs(added=tmp_path)).data.databases == texts


def test_two_texts_without_brackets_are_asked_about():
    with pytest.raises(ConfigError) as caught:
        validated_config(["data=fvc", "data.root=x", "data.databases=DB1_B,DB2_B"])
    assert caught.value.problems == [
        "data.databases=DB1_B,DB2_B: one value is expected; a list is 'data.databases=[DB1_B,DB2_B]', and several jobs "
        "need -m"
    ]


def test_a_folder_alone_is_told_its_key(tmp_path):
    folder = tmp_path / "my prints"
    folder.mkdir()
    assert refusal(str(folder)) == (
        f"{str(folder)!r}: expected KEY=VALUE; for the prints in it type 'data.root={folder}'"
    )


def test_in_a_sweep_each_value_is_such_a_text():
    (sweep,) = overrides.parse_overrides(overrides.quote_overrides(["data.databases=101,1e3,DB1_B,0012"], sweep=True))
    jobs = [
        validated_config(["data=fvc", "data.root=x", f"data.databases={value}"])
        for value in overrides.sweep_values(sweep)
    ]
    assert [config.data.databases for config in jobs] == [("101",), ("1e3",), ("DB1_B",), ("0012",)]
    assert list(overrides.sweep_values(sweep))[0] == "101"  # as in the folder's name of such a job before
