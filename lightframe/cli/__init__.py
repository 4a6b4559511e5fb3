"""The command `lightframe`."""

from lightframe.cli.main import LightFrameCLI, main

__all__ = ["LightFrameCLI", "main"]
