"""Working directories on other hosts: sending releases there, and all else that is done with them."""

from longshore.files.far.directory import FarDirectory, Shipped
from longshore.files.far.standing import FarRelease, Standing
from longshore.files.far.stock import Stock

__all__ = ["FarDirectory", "FarRelease", "Shipped", "Standing", "Stock"]
