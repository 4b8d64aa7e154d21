"""A bench that follows the formulas instead of running anything."""

import math

from hatnet.studies.scaling.bench import Bench


class FormulaClock(Bench):
    """Times by the formula, at 1 GMAC/s; it remembers what it timed, and can be stopped or made to fail."""

    def __init__(self, settings, stop_after=math.inf, error=None):
        super().__init__(settings)
        self.timed, self.stop_after, self.error = [], stop_after, error

    def seconds(self, attention, size, calls):
        if len(self.timed) >= self.stop_after:
            raise KeyboardInterrupt
        if self.error is not None and (attention.name, size) == ("mhsa", 64):
            raise self.error
        self.timed.append((attention.name, size))
        side = self.settings.side(size)
        return attention.cost(side, side).total_macs / 1e9

    def rounds(self, points):
        """What each round timed, without the warm-up, which calls every quick module twice."""
        timed = self.timed[2 * points :]
        return [timed[start : start + points] for start in range(0, len(timed), points)]
