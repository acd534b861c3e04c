"""Artifacts: what releases come from."""
