"""A bench that follows the formulas instead of running anything."""

import math

from hatnet.relatives import ATTENTIONS
from hatnet.studies.scaling import Settings

SMALL = Settings(sizes=(32, 64), channels=8, heads=2, rounds=3)  # maps of 8 x 8 and 16 x 16 tokens
POINTS = len(ATTENTIONS) * len(SMALL.sizes)


class FormulaClock:
    """Times by the formula, at 1 GMAC/s; it remembers what it timed, and can be stopped or made to fail."""

    def __init__(self, settings=SMALL, stop_after=math.inf, error=None):
        self.settings, self.stop_after, self.error = settings, stop_after, error
        self.timed = []

    def seconds(self, attention, size, calls):
        if len(self.timed) >= self.stop_after:
            raise KeyboardInterrupt
        if self.error is not None and (attention.name, size) == ("mhsa", 64):
            raise self.error
        self.timed.append((attention.name, size))
        side = self.settings.side(size)
        return attention.cost(side, side).total_macs / 1e9
