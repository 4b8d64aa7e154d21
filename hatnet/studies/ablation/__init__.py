"""The paper's question in small: is it hierarchical attention that helps?

The same small network with other attention in the place of H-MHSA, at equal parameters and equal cost, trained the same
way with several seeds. The command is `hatnet ablation`.
"""

from hatnet.studies.ablation.arms import ARMS, MATCHED, Arm
from hatnet.studies.ablation.matching import Fitted, fit
from hatnet.studies.ablation.network import build
from hatnet.studies.ablation.record import Record, Settings, read, write

__all__ = ["ARMS", "MATCHED", "Arm", "Fitted", "Record", "Settings", "build", "fit", "read", "write"]
