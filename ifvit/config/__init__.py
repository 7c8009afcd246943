"""The schema of a run's config, its strict builder, and the rules across keys.

`import ifvit.config` loads no JAX, Hydra or YAML: a wrong config is refused in a fraction of a second, before a device
is used. `build` takes the plain nested dict that Hydra composed, and names every problem, one a line.
"""

from ifvit.config.build import ConfigError, build, dense_of, matcher_of, to_dict
from ifvit.config.choices import Backbone, Device, Enhancement, Fine, LossForm, Precision, Sensor, Source, StageName
from ifvit.config.extras import missing_extra, missing_extras, missing_modules
from ifvit.config.identity import ADDED_GROUPS, MAY_CHANGE, SESSION_KEYS, differences, identity, leaves
from ifvit.config.inherit import inherit_network
from ifvit.config.keys import known_keys, nearest_keys
from ifvit.config.paths import expand_home, expand_homes, is_path_key, takes_texts
from ifvit.config.schema import (
    DEFAULT_COARSE_WIDTH,
    DEFAULT_FINE_WIDTH,
    FINE_STAGES,
    PAPER,
    STAGES,
    STRIDES,
    Config,
    DataConfig,
    DenseConfig,
    FilePath,
    ImpressionConfig,
    LossConfig,
    MatcherConfig,
    PairsConfig,
    PartConfig,
    Parts,
    TrainerConfig,
)

__all__ = [
    "ADDED_GROUPS",
    "DEFAULT_COARSE_WIDTH",
    "DEFAULT_FINE_WIDTH",
    "FINE_STAGES",
    "MAY_CHANGE",
    "PAPER",
    "SESSION_KEYS",
    "STAGES",
    "STRIDES",
    "Backbone",
    "Config",
    "ConfigError",
    "DataConfig",
    "DenseConfig",
    "Device",
    "Enhancement",
    "FilePath",
    "Fine",
    "ImpressionConfig",
    "LossConfig",
    "LossForm",
    "MatcherConfig",
    "PairsConfig",
    "PartConfig",
    "Parts",
    "Precision",
    "Sensor",
    "Source",
    "StageName",
    "TrainerConfig",
    "to_dict",
    "expand_homes",
    "build",
    "dense_of",
    "differences",
    "expand_home",
    "identity",
    "inherit_network",
    "is_path_key",
    "known_keys",
    "leaves",
    "matcher_of",
    "missing_extra",
    "missing_extras",
    "nearest_keys",
    "takes_texts",
    "missing_modules",
]
