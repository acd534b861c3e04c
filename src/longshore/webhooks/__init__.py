"""Webhooks: what happens to rollouts, told to other programs. At least once, signed, repeated until it arrives.

    events.py    what is told                    formats.py, signing.py    how
    outbox.py    written down with what it tells of, in one transaction
    sender.py    sent from there, until it has arrived or is given up
"""
