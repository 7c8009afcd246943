"""The keys' values that are chosen from a list. The files in configs/ explain each."""

import enum


class StageName(enum.StrEnum):
    dense = "dense"
    matcher = "matcher"

    @property
    def objective(self) -> str:
        """The validation's metric that selects the best state and that a sweep optimises; higher is better."""
        return {"dense": "exact", "matcher": "auc"}[self.value]


class Backbone(enum.StrEnum):
    resnet18 = "resnet18"
    resnet_fpn_8_2 = "resnet_fpn_8_2"
    resnet_fpn_16_4 = "resnet_fpn_16_4"


class Fine(enum.StrEnum):
    none = "none"
    loftr = "loftr"


class Attention(enum.StrEnum):
    linear = "linear"
    full = "full"


class Source(enum.StrEnum):
    synthetic = "synthetic"
    fvc = "fvc"
    sd4 = "sd4"
    sd300 = "sd300"
    sd301a = "sd301a"
    sd302a = "sd302a"
    sd302b = "sd302b"
    fpgan = "fpgan"
    printsgan = "printsgan"
    molf = "molf"
    folder = "folder"
    manifest = "manifest"
    prepared = "prepared"
    mixture = "mixture"


class Enhancement(enum.StrEnum):
    none = "none"
    gabor = "gabor"
    pyfing = "pyfing"


class Sensor(enum.StrEnum):
    optical = "optical"
    capacitive = "capacitive"
    inked = "inked"


class Device(enum.StrEnum):
    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"
    tpu = "tpu"


class Precision(enum.StrEnum):
    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


class LossForm(enum.StrEnum):
    nll = "nll"
    focal = "focal"
