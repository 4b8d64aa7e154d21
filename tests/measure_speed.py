"""Time the reference and PyTorch side by side: HAT-Net Tiny in float64, one image of 224 x 224 pixels, on this CPU.

`python -m tests.measure_speed [runs]` prints the median and the range of the ratio NumPy / PyTorch over alternating
runs, with one thread each and with all threads. Our limit for the ratio is 3.
"""

import json
import os
import platform
import subprocess
import sys
import time
from datetime import date

import numpy as np
import torch

import reference
from hatnet import create_model, to_numpy
from hatnet.equivalence import randomise


def measure(runs: int) -> dict[str, list[float]]:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    model = create_model("tiny")
    randomise(model)
    model, params = model.double().eval(), to_numpy(model)
    image = np.random.default_rng(0).standard_normal((3, 224, 224))
    seconds: dict[str, list[float]] = {"NumPy": [], "PyTorch": []}
    for run in range(runs + 1):
        start = time.perf_counter()
        with torch.inference_mode():
            model(torch.from_numpy(image)[None])
        middle = time.perf_counter()
        reference.hat_net(image, params, model.config)
        if run:  # the first one warms up
            seconds["PyTorch"].append(middle - start)
            seconds["NumPy"].append(time.perf_counter() - middle)
    return seconds


def main(runs: int = 9) -> None:
    """Measure in one process per number of threads, which must be set before NumPy is loaded."""
    print(f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    code = f"import json; from tests.measure_speed import measure; print(json.dumps(measure({runs})))"
    for threads in sorted({1, os.cpu_count() or 1}):
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
        printed = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
        numpy, pytorch = (np.array(seconds) for seconds in json.loads(printed).values())
        ratios = numpy / pytorch
        print(
            f"{threads} threads: NumPy {np.median(numpy):.2f} s, PyTorch {np.median(pytorch):.2f} s, "
            f"ratio {np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f}, {runs} runs)"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
