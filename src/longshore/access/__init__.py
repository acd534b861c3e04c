"""Tokens and locks: who may change what, and what is closed for a while."""
