"""The command `hatnet summary`: what a variant is and what it costs."""

from __future__ import annotations

from json import dumps
from typing import Annotated

import tyro

from hatnet.cli.console import print_summary
from hatnet.complexity.summary import describe
from hatnet.config import get_config


def summary(
    variant: Annotated[str, tyro.conf.Positional], image_size: tuple[int, int] = (224, 224), json: bool = False
) -> None:
    """Print what a variant is and what it costs, stage by stage.

    Args:
        variant: tiny, small, medium, large or micro.
        image_size: height and width in pixels.
        json: print JSON and nothing else.
    """
    config = get_config(variant)
    if json:
        print(dumps(describe(config, *image_size), indent=2))
    else:
        print_summary(config, *image_size)
