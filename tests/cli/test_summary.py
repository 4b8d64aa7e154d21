"""The command `hatnet summary`."""

import json

from hatnet.complexity import inference_memory, network_costs, total, training_memory
from hatnet.config import VARIANTS

SUMMARY = """
 part          map    C  heads  G1  windows  G2  merged  blocks  parameters
 stem            -    -      -   -        -   -       -       -       7,440
 stages.0    56x56   48      1   8      7x7   8     7x7       2     114,528
 stages.1    28x28   96      2   7      4x4   4     7x7       2     482,784
 stages.2    14x14  240      5   7      2x2   2     7x7       6   5,468,400
 stages.3      7x7  384      8   -        -   -       -       3   6,192,000
 classifier      -    -      -   -        -   -       -       -     385,000
 total                                                           12,650,152
"""

COSTS = """
 part            MACs without  MACs with  inference  training
 stem                    27.1       27.1        2.2       3.0
 stages.0               325.6      393.6       16.9      55.5
 stages.1               348.6      378.1        9.0      28.8
 stages.2               965.3    1,020.6        4.1      35.5
 stages.3               302.8      308.3        2.7       5.9
 classifier               0.4        0.4          -       0.0
 total, or most       1,969.7    2,128.1       16.9     128.8
"""


def test_summary_prints_one_row_per_stage(hatnet_command):
    """Tables 1 and 2, within 80 columns."""
    status, out, _ = hatnet_command("summary", "tiny")
    assert status == 0
    lines = [line.rstrip() for line in out.splitlines()]
    for table in (SUMMARY, COSTS):
        rows = table.strip("\n").splitlines()
        assert [line for line in lines if line in rows] == rows
    assert max(map(len, lines)) <= 80
    assert "Paper, at 224 x 224: 12.7 M parameters, 2.0 G FLOPs" in out
    assert "Ours, at 224 x 224: 1.97 G MACs without attention, 2.13 G with." in out
    assert "12,655,912 in the authors' file" in out


def test_summary_of_large_images_fits_in_80_columns_and_shows_their_maps(hatnet_command):
    _, out, _ = hatnet_command("summary", "large", "--image-size", 800, 1333)
    assert max(len(line.rstrip()) for line in out.splitlines()) <= 80
    assert "Paper, at 224 x 224: 63.1 M parameters, 11.5 G FLOPs" in out
    assert "200x334" in out


def test_summary_of_our_own_variant_has_no_published_figures(hatnet_command):
    _, out, _ = hatnet_command("summary", "micro")
    assert "Paper" not in out
    assert "authors" not in out


def test_summary_prints_json_and_nothing_else(hatnet_command):
    status, out, err = hatnet_command("summary", "small", "--image-size", 100, 133, "--json")
    assert (status, err) == (0, "")
    printed = json.loads(out)
    cost = total(network_costs(VARIANTS["small"], 100, 133))
    assert printed["image_size"] == [100, 133]
    assert printed["parameters"] == cost.parameters
    assert printed["macs"] == {"without_attention": cost.projection_macs, "with_attention": cost.total_macs}
    assert printed["memory"]["inference"] == inference_memory(VARIANTS["small"], 100, 133)
    assert printed["memory"]["training"] == training_memory(VARIANTS["small"], 100, 133)
    assert printed["paper_at_224"] == {"parameters_millions": 25.7, "gflops": 4.3}
    assert [part["part"] for part in printed["parts"]] == ["stem", *(f"stages.{s}" for s in range(4)), "classifier"]
