"""From a directory of image stacks to scored SWC neurons."""

__version__ = "0.1.0"
