"""The common base of the studies: what is not covered by the tests of each study."""

import subprocess
import sys

import pytest
from scipy import stats

from hatnet.studies.common.settings import require_known
from hatnet.studies.common.statistics import t_quantile
from hatnet.studies.common.table import Grid

WITHOUT_STUDIES = """
import sys
for module in ("captum", "matplotlib", "scipy", "torchvision"):
    sys.modules[module] = None  # an import of it now fails
import hatnet.cli.main
"""


def test_the_command_line_loads_without_the_extra_studies():
    subprocess.run([sys.executable, "-c", WITHOUT_STUDIES], check=True)


@pytest.mark.parametrize("degrees_of_freedom", [1, 2, 9, 19, 119])
def test_95_percent_of_a_t_distribution_lie_within_the_quantile(degrees_of_freedom):
    quantile = t_quantile(degrees_of_freedom)
    inside = stats.t.cdf(quantile, degrees_of_freedom) - stats.t.cdf(-quantile, degrees_of_freedom)
    assert inside == pytest.approx(0.95)


def test_names_must_be_known_and_different_and_at_least_one():
    require_known("module", ["swin"], ["mhsa", "swin"])
    for names, message in ((["swim"], "did you mean 'swin'"), ([], "at least one"), (["swin", "swin"], "none twice")):
        with pytest.raises(ValueError, match=message):
            require_known("module", names, ["mhsa", "swin"])


def test_a_table_puts_second_lines_below_in_markdown():
    grid = Grid("Title", ("name", "time\nms"), (("swin", "1.5\n1.4, 1.6"),))
    assert "| swin | 1.5<br>1.4,&nbsp;1.6 |" in grid.markdown()
    assert grid.folded().startswith('??? abstract "Title"')
    assert grid.rich().row_count == 1
