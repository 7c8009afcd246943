"""The schema of a run, its strict builder, and every check that needs two keys at once.

Nothing here imports JAX, Hydra or YAML: a wrong config is refused in a fraction of a second, before a device is used.
`build` takes the plain nested dict that a front door composed; it names every problem, one line each.
"""

from ifvit.config.build import MAY_CHANGE, ConfigError, as_tree, build, differences, known_keys, near
from ifvit.config.schema import (
    DEFAULT_COARSE_WIDTH,
    DEFAULT_FINE_WIDTH,
    FINE_STAGES,
    STAGES,
    STRIDES,
    Backbone,
    Config,
    DataConfig,
    DenseConfig,
    Device,
    Enhancement,
    Fine,
    ImpressionConfig,
    LossConfig,
    LossForm,
    PairsConfig,
    PartConfig,
    Parts,
    Precision,
    Sensor,
    Source,
    TrainerConfig,
)

__all__ = [
    "DEFAULT_COARSE_WIDTH",
    "DEFAULT_FINE_WIDTH",
    "FINE_STAGES",
    "MAY_CHANGE",
    "STAGES",
    "STRIDES",
    "Backbone",
    "Config",
    "ConfigError",
    "DataConfig",
    "DenseConfig",
    "Device",
    "Enhancement",
    "Fine",
    "ImpressionConfig",
    "LossConfig",
    "LossForm",
    "PairsConfig",
    "PartConfig",
    "Parts",
    "Precision",
    "Sensor",
    "Source",
    "TrainerConfig",
    "as_tree",
    "build",
    "differences",
    "known_keys",
    "near",
]
