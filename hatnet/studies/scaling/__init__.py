"""Measured cost: attention modules timed against each other over image sizes, beside the formulas.

`measure` makes a `Record`, a JSON file with the machine, the settings and every individual timing. Tables and figures
are made from a record, at once or later. The command is `hatnet scaling`.
"""

from hatnet.studies.scaling.fit import fit_exponent
from hatnet.studies.scaling.measurement import measure
from hatnet.studies.scaling.record import Point, Record, read, write
from hatnet.studies.scaling.settings import Settings

__all__ = ["Point", "Record", "Settings", "fit_exponent", "measure", "read", "write"]
