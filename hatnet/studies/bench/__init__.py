"""Measured speed: whole networks timed against each other, for inference and for training.

`measure` makes a `Record`, a JSON file with the machine, the settings and every individual timing. Tables and figures
are made from a record, at once or later. The command is `hatnet bench`.
"""

from hatnet.studies.bench.measurement import measure
from hatnet.studies.bench.record import Record, Visit, read, write
from hatnet.studies.bench.settings import Layout, Settings

__all__ = ["Layout", "Record", "Settings", "Visit", "measure", "read", "write"]
