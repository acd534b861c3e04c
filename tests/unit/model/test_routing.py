"""Routing: pools, and which of them there are."""

from __future__ import annotations

from longshore.model import Routing


def test_a_routing_lists_the_pools_it_has() -> None:
    assert Routing(80, None).pools == ()
