"""Train, evaluate and benchmark video models: a thin, careful layer on Lightning."""

from lightframe.version import __version__

__all__ = ["__version__"]
