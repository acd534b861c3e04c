"""Routers: what sends traffic to instances."""
