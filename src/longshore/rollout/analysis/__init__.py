"""Judging a canary: what the router counted of both versions, what it proves, and what a user's own checks say."""
