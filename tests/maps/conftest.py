"""The command `hatnet`, for the tests of maps."""

from tests.cli.conftest import hatnet_command

__all__ = ["hatnet_command"]
