"""The command `hatnet`: one thin file per command."""
