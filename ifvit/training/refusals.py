"""Which errors a run ends with, so that the front door turns each into a line and a status.

A refusal asks the user to change something first; a failure happened on the way.
"""

import jax

from ifvit.backend import BackendError
from ifvit.cache import CacheError
from ifvit.checkpoint import CheckpointError, FolderError
from ifvit.data.records import DataError
from ifvit.image import ImageError
from ifvit.recognition.errors import EnhancementError
from ifvit.training.devices import DeviceError
from ifvit.training.log import NotFiniteError, NothingToLearnError
from ifvit.training.run_dir import RunDirError
from ifvit.weights.errors import WeightsError

REFUSALS = (BackendError, CacheError, DataError, DeviceError, EnhancementError, FolderError, RunDirError, WeightsError)
# An image fails on the way where its file was changed, or its disk taken away, after it was checked.
FAILURES = (CheckpointError, ImageError, NotFiniteError, NothingToLearnError)
MEMORY = (jax.errors.JaxRuntimeError, MemoryError)
