"""Asking instances and deployments for their health, and keeping what is committed true."""
