"""Where everything that must survive is kept."""

from longshore.store.repository import Store

__all__ = ["Store"]
