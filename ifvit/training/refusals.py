"""Which errors a run ends with, so that the front door turns each into a line and a status.

A refusal asks the user to change something first; a failure happened on the way.
"""

import jax

from ifvit.cache import CacheError
from ifvit.checkpoint import CheckpointError, FolderError
from ifvit.data.sources import DataError
from ifvit.training.devices import DeviceError
from ifvit.training.log import NotFiniteError
from ifvit.training.run_dir import RunDirError
from ifvit.weights.errors import WeightsError

REFUSALS = (CacheError, DataError, DeviceError, FolderError, RunDirError, WeightsError)
FAILURES = (CheckpointError, NotFiniteError)
MEMORY = (jax.errors.JaxRuntimeError, MemoryError)
