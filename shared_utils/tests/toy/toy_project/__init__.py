"""A package with commands, for the tests of ``cli.project``."""

__version__ = "1.2.3"
