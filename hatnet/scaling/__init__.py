"""Time by measurement: attention modules against each other over image sizes, beside what the formulas say.

`measure` makes a `Record`, a JSON file with the machine, the settings and every single time; tables and figures are
made from it, now or later. `choose` is about G1 and G2. The command is `hatnet scaling`.
"""

from hatnet.scaling.choice import Choice, cell_within_window, choose, costs, valley
from hatnet.scaling.contenders import NAMES, Contender
from hatnet.scaling.fit import fit_exponent, quartiles
from hatnet.scaling.measurement import measure
from hatnet.scaling.record import Point, Record, Settings, read, write

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
