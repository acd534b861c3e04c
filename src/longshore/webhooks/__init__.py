"""Webhooks: what happens to rollouts, told to other programs. At least once, signed, repeated until it arrives.

receiver.py   who is told            events.py                what
formats.py, signing.py               how it looks
outbox.py     written down with what it tells of, in one transaction
sender.py     sent from there, until it has arrived or is given up
desk.py       what a person asks of all that
"""
