"""Measure the difference between PyTorch and the reference in each precision, for `hatnet.equivalence.TOLERANCES`.

`python -m tests.measure_noise [cpu|cuda]` prints the median and the largest relative difference for each dtype, over
all intermediates of the five variants at two image sizes and three seeds.
"""

import sys
from collections import defaultdict
from itertools import product

import numpy as np
import torch

from hatnet import VARIANTS, create_model
from hatnet.equivalence import TOLERANCES, compare, randomise


def main(device: str = "cpu") -> None:
    errors = defaultdict(list)
    for variant, size, seed, dtype in product(VARIANTS, ((64, 64), (75, 106)), range(3), TOLERANCES):
        model = create_model(variant)
        randomise(model, seed)
        image = torch.from_numpy(np.random.default_rng(seed).standard_normal((1, 3, *size)))
        for row in compare(model.to(device, dtype), image):
            errors[dtype].append((row.error, variant, size, seed, row.name))
        print(variant, size, seed, dtype, file=sys.stderr)
    for dtype, rows in errors.items():
        median = np.median([row[0] for row in rows])
        print(
            f"{dtype}: median {median:.1e}, largest {max(rows)[0]:.1e} ({max(rows)[1:]}), limit {TOLERANCES[dtype]:.0e}"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
