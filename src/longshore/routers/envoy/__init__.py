"""The router that drives Envoy: builders (resources, moves) apart from what runs them (files, stages, process)."""

from longshore.routers.envoy.router import EnvoyRouter

__all__ = ["EnvoyRouter"]
