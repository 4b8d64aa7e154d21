"""How far a map can be trusted: insertion and deletion curves, and agreement with occlusion, over many images.

`patches`, `baselines` and `curves` take an image apart in the order of a map; `occlusion` and `correlation` compare a
map with what covering each patch does. `methods` are the maps, `study` puts all of them to the test. The command is
`hatnet faithfulness`.
"""

from hatnet.studies.faithfulness.curves import area, curve, descending
from hatnet.studies.faithfulness.methods import METHODS, Asked
from hatnet.studies.faithfulness.occlusion import occlusion
from hatnet.studies.faithfulness.record import Record, Settings, read, write
from hatnet.studies.faithfulness.study import study

__all__ = [
    "METHODS", "Asked", "Record", "Settings", "area", "curve", "descending", "occlusion", "read", "study", "write",
]  # fmt: skip
