"""Hosts: the machines that instances run on."""
