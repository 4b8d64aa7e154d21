"""Faithfulness of maps: insertion and deletion curves, and agreement with occlusion, over many images.

`patches` and `curves` replace parts of an image in the order of a map. `occlusion` compares a map with the effect of
covering each patch. `methods` lists the maps, and `study` compares them. The command is `hatnet faithfulness`.
"""

from hatnet.studies.faithfulness.curves import area, curve, descending_order
from hatnet.studies.faithfulness.methods import METHODS, MapInputs
from hatnet.studies.faithfulness.occlusion import occlusion
from hatnet.studies.faithfulness.record import Record, Settings, read, write
from hatnet.studies.faithfulness.study import study

__all__ = [
    "METHODS", "MapInputs", "Record", "Settings", "area", "curve", "descending_order", "occlusion", "read", "study",
    "write",
]  # fmt: skip
