"""Where torch has its data sets: `fastmlp.utils.data` is `fastmlp.data`."""

from . import data

__all__ = ["data"]
