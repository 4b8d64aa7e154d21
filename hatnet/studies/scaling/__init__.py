"""Time by measurement: attention modules against each other over image sizes, beside what the formulas say.

`measure` makes a `Record`, a JSON file with the machine, the settings and every single time; tables and figures are
made from it, now or later. `choose` is about G1 and G2. The command is `hatnet scaling`.
"""

from hatnet.complexity.window_sizes import Choice, cell_within_window, choose, costs, valley
from hatnet.studies.common.statistics import quartiles
from hatnet.studies.scaling.fit import fit_exponent
from hatnet.studies.scaling.measurement import measure
from hatnet.studies.scaling.modules import NAMES, Contender
from hatnet.studies.scaling.record import Point, Record, Settings, read, write

__all__ = [
    "NAMES",
    "Choice",
    "Contender",
    "Point",
    "Record",
    "Settings",
    "cell_within_window",
    "choose",
    "costs",
    "fit_exponent",
    "measure",
    "quartiles",
    "read",
    "valley",
    "write",
]
