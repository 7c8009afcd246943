"""The unpickler of PyTorch files: nothing a file names is ever imported or run."""

import pickle
import random
import struct

import numpy as np
import pytest

from ifvit.weights import WeightsError, read_state_dict
from ifvit.weights.unpickle import Foreign, read_pickle
from tests.helpers.torch_zip import Call, Global, PickleWriter, Raw, View, refusal_of, write_torch_zip

WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)
RUNNERS = [
    ("os", "system"),
    ("os.path", "join"),
    ("posix", "system"),
    ("nt", "system"),
    ("torch", "os.system"),
    ("subprocess", "Popen"),
    ("builtins", "exec"),
    ("builtins", "__import__"),
    ("__builtin__", "eval"),
    ("importlib", "import_module"),
    ("runpy", "run_path"),
    ("shutil", "rmtree"),
    ("functools", "reduce"),
    ("operator", "attrgetter"),
    ("operator", "methodcaller"),
    ("pickle", "loads"),
    ("types", "FunctionType"),
]


@pytest.mark.parametrize("protocol", ["REDUCE", "INST", "OBJ", "STACK_GLOBAL"])
def test_a_pickle_that_calls_os_system_is_refused_and_nothing_runs(tmp_path, protocol):
    marker = tmp_path / "marker"
    command = f"touch {marker}"
    text = PickleWriter().encode(command)
    attack = {
        "REDUCE": PickleWriter().encode(Call(Global("os", "system"), (command,))),
        "INST": pickle.MARK + text + pickle.INST + b"os\nsystem\n",
        "OBJ": pickle.MARK + pickle.GLOBAL + b"os\nsystem\n" + text + pickle.OBJ,
        "STACK_GLOBAL": PickleWriter().encode("os") + PickleWriter().encode("system") + pickle.STACK_GLOBAL
        + text + pickle.TUPLE1 + pickle.REDUCE,
    }[protocol]  # fmt: skip
    pickle.loads(pickle.PROTO + b"\x02" + attack + pickle.STOP)  # the attack is a working one
    assert marker.exists()
    marker.unlink()
    message = refusal_of(tmp_path, {"state_dict": {"a": WEIGHT}, "extra": Raw(attack)})
    assert "os.system" in message and "Nothing was run" in message
    assert not marker.exists()


@pytest.mark.parametrize(("module", "name"), RUNNERS)
def test_names_that_run_things_are_refused(tmp_path, module, name):
    message = refusal_of(tmp_path, {"state_dict": {"a": WEIGHT}, "extra": Global(module, name)})
    assert f"{module}.{name}" in message


def test_a_foreign_name_is_never_imported(tmp_path, monkeypatch):
    (tmp_path / "loads_itself.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    value = read_pickle(PickleWriter().dump(Call(Global("loads_itself", "Thing"), (1,), state={"x": 1})))
    assert isinstance(value, Foreign) and value.name == "loads_itself.Thing"


HONEST = {
    "functools.partial": Call(Global("functools", "partial"), (Global("torch.nn", "GELU"),),
                              (Global("torch.nn", "GELU"), (), {"approximate": "tanh"}, None)),
    "a namespace": Call(Global("copyreg", "_reconstructor"),
                        (Global("argparse", "Namespace"), Global("builtins", "object"), None), {"lr": 0.1}),
    "a path": Call(Global("pathlib", "PosixPath"), ("/", "data")),
    "a config": Call(Global("omegaconf.dictconfig", "DictConfig"), (), {"_content": {}}),
    "a NumPy number": Call(Global("numpy._core.multiarray", "scalar"), (Call(Global("numpy", "dtype"), ("f8",)), "x")),
    "a class within a class": Call(Global("__builtin__", "getattr"), (Global("my.types", "Config"), "Mode")),
    "None's type": Call(Global("builtins", "type"), (None,)),
    "a getter": Call(Global("operator", "itemgetter"), (0,)),
}  # fmt: skip


@pytest.mark.parametrize("kind", HONEST)
def test_honest_hyper_parameters_are_passed_over(tmp_path, kind):
    value = {"hyper_parameters": {"mine": HONEST[kind], "lr": 0.1}, "state_dict": {"a": WEIGHT}}
    read = read_state_dict(write_torch_zip(tmp_path / "file.pt", value))
    assert list(read) == ["state_dict.a"]
    np.testing.assert_array_equal(read["state_dict.a"], WEIGHT)


@pytest.mark.parametrize(
    "attack",
    [
        Call(Global("functools", "partial"), (Global("os", "system"), "touch x")),
        Call(Call(Global("builtins", "getattr"), (Global("torch", "os"), "system")), ("touch x",)),
        Call(Global("builtins", "getattr"), (Call(Global("builtins", "getattr"), (Global("a", "b"), "os")), "system")),
    ],
)  # fmt: skip
def test_what_hides_behind_honest_names_is_refused(tmp_path, attack):
    message = refusal_of(tmp_path, {"state_dict": {"a": WEIGHT}, "extra": attack})
    assert "os.system" in message and "Nothing was run" in message


def _nested_tuple(depth: int) -> bytes:
    return pickle.EMPTY_TUPLE + pickle.TUPLE1 * depth


HOSTILE = {
    "key nested deep": pickle.EMPTY_DICT + _nested_tuple(200_000) + pickle.NONE + pickle.SETITEM,
    "key of doubled halves": pickle.EMPTY_DICT + pickle.EMPTY_TUPLE + (pickle.DUP + pickle.TUPLE2) * 64
    + pickle.NONE + pickle.SETITEM,
    "dict of a list": pickle.MARK + pickle.EMPTY_LIST + pickle.NONE + pickle.DICT,
    "huge bytearray": pickle.BYTEARRAY8 + struct.pack("<Q", 2**62),
    "huge text": pickle.BINUNICODE8 + struct.pack("<Q", 2**62),
    "extension": pickle.EXT1 + b"\x01",
    "call of a number": pickle.BININT1 + b"\x01" + pickle.EMPTY_TUPLE + pickle.REDUCE,
    "stack underflow": pickle.REDUCE,
    "unknown opcode": b"\xff",
    "no mark": pickle.TUPLE,
    "odd items": pickle.EMPTY_DICT + pickle.MARK + pickle.NONE + pickle.SETITEMS,
    "memo never set": pickle.BINGET + b"\x05",
    "out-of-band buffer": pickle.NEXT_BUFFER,
    "item of a list": pickle.EMPTY_LIST + pickle.NONE + pickle.NONE + pickle.SETITEM,
    "append to a dict": pickle.EMPTY_DICT + pickle.NONE + pickle.APPEND,
    "odd persistent id": pickle.NONE + pickle.BINPERSID,
    "storage of negative size": PickleWriter().encode(
        ("storage", Global("torch", "FloatStorage"), "0", "cpu", -1)) + pickle.BINPERSID,
    "tensor of nothing": PickleWriter().encode(
        Call(Global("torch._utils", "_rebuild_tensor_v2"), (None, 0, (2,), (1,), False, None))),
    "number of many digits": pickle.LONG + b"9" * 100_000 + b"L\n",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused(tmp_path, name):
    refusal_of(tmp_path, {"state_dict": {"a": WEIGHT}, "extra": Raw(HOSTILE[name])})


def test_a_huge_memo_index_costs_no_memory(tmp_path):
    extra = Raw(pickle.NONE + pickle.LONG_BINPUT + struct.pack("<I", 2**32 - 1))
    assert read_state_dict(write_torch_zip(tmp_path / "file.pt", {"state_dict": {"a": WEIGHT}, "extra": extra}))


def test_a_damaged_pickle_is_refused_or_read(tmp_path):
    """The checksums are valid, so that the damage reaches the unpickler."""
    value = {"state_dict": {"a": WEIGHT, "b": View(np.zeros(9, np.float32), (3, 3), (1, 3))}, "epoch": 1}
    content = PickleWriter().dump(value)
    draw = random.Random(1)
    refused = 0
    for _ in range(1000):
        copy = bytearray(content)
        copy[draw.randrange(len(copy))] = draw.randrange(256)
        try:
            replace = {"data.pkl": bytes(copy)}
            read_state_dict(write_torch_zip(tmp_path / "file.pt", value, replace=replace))
        except WeightsError:
            refused += 1
    assert 0 < refused < 1000
