"""Settings and made-up records, shared by the tests of the ablation."""

import torch

from hatnet.studies.ablation import Record, Settings
from hatnet.studies.ablation.record import Network, Run, Times

CPU = torch.device("cpu")
SETTINGS = Settings("fashion-subset", epochs=1)


def make_record(table, epochs=2):
    """A record with the given accuracies, a dictionary with one value per seed for each arm."""
    date = "2026-01-01T00:00:00+00:00"
    return Record(
        date,
        {"cpu": "a CPU", "system": "Linux", "python": "3", "torch": "2", "threads": 1},
        Settings("fashion-subset", epochs),
        [Network.of(SETTINGS.matched(arm)) for arm in table],
        [
            Run(arm, seed, [0.5] * (epochs - 1) + [accuracy], [1.0] * epochs, 1.0, date)
            for arm, accuracies in table.items()
            for seed, accuracy in enumerate(accuracies)
        ],
        make_times(table),
    )


def make_times(arms):
    """Two rounds of times for each arm."""
    return [Times(what, "cpu", 64, {arm: [1e-3, 2e-3] for arm in arms}) for what in ("forward", "step")]
