"""The paper's question on a small scale: does hierarchical attention help?

The same small network with other attention instead of H-MHSA, at equal parameters and equal cost, trained in the same
way with several seeds. The command is `hatnet ablation`.
"""

from hatnet.studies.ablation.arms import ARMS, MATCHED, Arm
from hatnet.studies.ablation.matching import MatchedArm, build, match_cost
from hatnet.studies.ablation.record import Record, Settings, read, write

__all__ = ["ARMS", "MATCHED", "Arm", "MatchedArm", "Record", "Settings", "build", "match_cost", "read", "write"]
