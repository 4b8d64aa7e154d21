"""The measurement: a pilot finds the best layout of each network, then the networks take turns in it."""

from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec

from hatnet.environment import wait_policy
from hatnet.studies.bench.record import Record, Visit, has_roofline
from hatnet.studies.bench.settings import Settings
from hatnet.studies.bench.visit import Plan, run_visit
from hatnet.studies.common.machine import load_average, machine_details
from hatnet.studies.common.records import timestamp
from hatnet.studies.common.statistics import schedule

# Guesses before anything is known: seconds to start and warm up a visit, to compile a network, and of the peak rates.
START, COMPILE, ROOFLINE = 15.0, 60.0, 60.0

OnProgress = Callable[[str, float, float], None]  # what comes next, seconds done, seconds expected
OnRecord = Callable[[Record], None]
RunVisit = Callable[[Settings, Plan, int], Visit]


def measure(
    settings: Settings,
    on_progress: OnProgress = lambda *_: None,
    on_record: OnRecord = lambda _: None,
    run: RunVisit = run_visit,
) -> Record:
    """Time every network `settings.rounds` times in its best layout.

    First comes the pilot, which visits each network in each layout, unless there is one layout only. Then come the
    rounds. Every round visits each network once, in an order drawn from the seed, so that a slow minute of the machine
    affects all alike. A visit for the latency is separate if its best layout is another one. Last come the rooflines of
    our variants. A network that fails is left out from then on, and the reason is recorded.

    `on_progress` is called before each visit, and `on_record` with the record after each visit. If Ctrl-C stops the
    run, the record holds the times up to then, and `complete` is False.
    """
    record = Record(timestamp(), machine_details(settings.device), settings, [])
    record.machine |= {"threads of all": threads_of_all(settings), "threads wait": wait_policy()}
    record.machine |= timm_version() | {"load at start": load_average()}
    try:
        turns = _Turns(record, on_progress, on_record, run)
        turns.take("pilot", pilot(settings), 0)
        for number in range(1, settings.rounds + 1):
            turns.take(f"round {number} of {settings.rounds}", round_plans(record), number)
        turns.take("roofline", roofline_plans(record), settings.rounds + 1)
        record.complete = True
    except KeyboardInterrupt:
        pass
    record.machine["load at end"] = load_average()
    on_record(record)
    return record


def threads_of_all(settings: Settings) -> int:
    """The threads of all processes in the largest layout."""
    return max(layout.processes * layout.threads for layout in settings.candidates())


def timm_version() -> dict[str, str]:
    """The version of timm, if it is installed."""
    return {"timm": version("timm")} if find_spec("timm") is not None else {}


def pilot(settings: Settings) -> list[Plan]:
    """The visits of the pilot; none if there is only one layout."""
    layouts = settings.candidates()
    if len(layouts) == 1:
        return []
    return [
        Plan(network, layout, latency=layout.processes == 1 and not settings.training)
        for network in settings.networks
        for layout in layouts
    ]


def round_plans(record: Record) -> list[Plan]:
    """The visits of one round: each network in its best layout, and its latency in the best layout for that."""
    plans = []
    for network in record.settings.networks:
        best, quickest = record.layout(network), record.latency_layout(network)
        if best is None or record.refusal(network):
            continue
        plans.append(Plan(network, best, latency=quickest == best))
        if quickest not in (None, best):
            assert quickest is not None
            plans.append(Plan(network, quickest, throughput=False, latency=True))
    return plans


def roofline_plans(record: Record) -> list[Plan]:
    """The visits that measure the parts of our variants, each in its best layout."""
    return [
        Plan(network, layout, roofline=True)
        for network in record.settings.networks
        if has_roofline(record.settings, network)
        and not record.refusal(network)
        and (layout := record.layout(network)) is not None
    ]


class _Turns:
    """Makes visits, keeps them in the record, and estimates the time that remains from the visits so far."""

    def __init__(self, record: Record, on_progress: OnProgress, on_record: OnRecord, run: RunVisit) -> None:
        self.record, self.on_progress, self.on_record, self.run = record, on_progress, on_record, run
        self.done = 0.0

    def take(self, title: str, plans: list[Plan], number: int) -> None:
        settings = self.record.settings
        (order,) = schedule(len(plans), 1, settings.seed + number)
        for place, index in enumerate(order):
            if self.record.refusal(plans[index].network):
                continue
            left = [plans[other] for other in order[place:]] + self._later(number)
            expected = self.done + sum(map(self._expected, left))
            self.on_progress(f"{title}: {plans[index]}", self.done, expected)
            visit = self.run(settings, plans[index], number)
            self.record.visits.append(visit)
            self.done += visit.seconds
            self.on_record(self.record)
        if number > settings.rounds:
            self.on_progress("done", self.done, self.done)

    def _later(self, number: int) -> list[Plan]:
        """The plans of the rounds after this one, guessed while the best layouts are not known."""
        settings = self.record.settings
        if number > settings.rounds:
            return []
        guess = settings.candidates()[0]
        names = [name for name in settings.networks if not self.record.refusal(name)]
        plans = round_plans(self.record) or [Plan(name, guess, latency=not settings.training) for name in names]
        rooflines = roofline_plans(self.record) or [
            Plan(name, guess, roofline=True) for name in names if has_roofline(settings, name)
        ]
        return plans * (settings.rounds - number) + rooflines

    def _expected(self, plan: Plan) -> float:
        """Seconds of a visit: those of the last one like it, or a guess."""
        for visit in reversed(self.record.of(plan.network)):
            if visit.layout == plan.layout and not plan.roofline:
                return visit.seconds
        settings = self.record.settings
        timed = settings.seconds * (plan.throughput + 0.5 * plan.latency)
        return START + timed + COMPILE * settings.compile + ROOFLINE * plan.roofline
