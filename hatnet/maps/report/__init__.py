"""The report of `hatnet demo`: one HTML file without scripts that needs nothing outside itself.

`page` puts it together from `chart` (the agreement at a glance), `tables`, and `maps` (attention over the photo), which
takes what a token attends to from `query` and draws it with `picture` and `colour`. `markup` writes elements.
"""

from hatnet.maps.report.page import CAT, write_report

__all__ = ["CAT", "write_report"]
