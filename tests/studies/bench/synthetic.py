"""Visits without processes: a network takes a fixed time in each layout."""

import math
from dataclasses import replace

from hatnet.studies.bench import Layout, Settings, Visit, measure

SETTINGS = Settings(networks=("micro", "authors-micro", "resnet50"), size=32, batch=4, rounds=2, threads=2)
ALONE, PAIR = Layout(1, 2), Layout(2, 1)

# Seconds of a batch in each layout: HAT-Net is faster in two processes, the others in one.
SECONDS = {
    ("micro", ALONE): 0.5, ("micro", PAIR): 0.8, ("authors-micro", ALONE): 1.0, ("authors-micro", PAIR): 2.5,
    ("resnet50", ALONE): 0.25, ("resnet50", PAIR): 1.0,
}  # fmt: skip
PEAKS = {"matrices": 4e9, "depthwise": 2e9, "silu": 5e8, "norm": 1e9, "memory": 1e10}
PARTS = {"stage 0 mlp: matrices": 3.0, "stage 0 mlp: SiLU and depthwise": 1.0}


class Visitor:
    """Carries out plans at once, and keeps them. It can be stopped, and networks can fail."""

    def __init__(self, stop_after=math.inf, fails=()):
        self.stop_after, self.fails, self.plans = stop_after, fails, []

    def __call__(self, settings, plan, number):
        if len(self.plans) >= self.stop_after:
            raise KeyboardInterrupt
        self.plans.append((number, plan))
        visit = Visit(plan.network, plan.layout.processes, plan.layout.threads, number, seconds=10.0)
        if plan.network in self.fails:
            return replace(visit, refused="RuntimeError: it failed")
        seconds = SECONDS[plan.network, plan.layout]
        if plan.throughput:
            visit.batches = [[seconds, seconds, seconds] for _ in range(plan.layout.processes)]
            visit.before, visit.added = (
                [count] * plan.layout.processes for count in (2**29, 2**20 * len(plan.network))
            )
        if plan.latency:
            visit.latencies = [[seconds / 3, seconds / 4, seconds / 5]]
        if plan.roofline:
            visit.parts = [dict(PARTS) for _ in range(plan.layout.processes)]
            visit.peaks = [PEAKS, {name: rate / 2 for name, rate in PEAKS.items()}][: plan.layout.processes]
        return visit


def synthetic_record(settings=SETTINGS, **how):
    """A record of such visits."""
    return measure(settings, run=Visitor(**how))
