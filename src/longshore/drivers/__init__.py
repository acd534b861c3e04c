"""Drivers: what runs instances."""
