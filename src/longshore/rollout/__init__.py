"""Rollouts: planned as data, journalled, run, undone, recovered."""
