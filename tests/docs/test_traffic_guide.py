"""The guide's configuration is one; its balancers are run by tests/integration/test_own_balancer.py."""

from longshore.settings import load
from support.documents import blocks_of

GUIDE = "docs/guide/traffic.md"


def test_the_configuration_of_the_guide_can_be_used(tmp_path):
    (block,) = blocks_of(GUIDE, "toml")
    path = tmp_path / "longshore.toml"
    path.write_text(block)
    found = load(path).environment("production")
    assert (found.router, found.endpoints.format) == ("none", "haproxy")
