"""Whatever tree: shipped it is the same, also out of whatever other one."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from longshore.artifacts import ArtifactError
from longshore.files import WorkingDirectory
from longshore.files.far import FarDirectory, Stock
from longshore.files.far.manifest import parse_listing, read_manifest
from support.sh_host import ShHost
from support.trees import File, Folder, Link, Tree, plant, seen, unpack

#: bytes that shells, find, tar, xargs and sort have opinions on, and some that are no UTF-8
ALPHABET = [*"ab-. \n\t'\"\\$*?[]~#!;&|<>%=:@,\r", "é", "☃", "\udcff", "\udce9", "\x01", "\x7f"]
parts = st.text(st.sampled_from(ALPHABET), min_size=1, max_size=6).filter(lambda name: name not in (".", ".."))
paths = st.lists(parts, min_size=1, max_size=3).map("/".join)
contents = st.one_of(
    st.binary(max_size=50),
    st.sampled_from([bytes(70_000), b"ab" * 40_000, bytes(range(256)) * 200, bytes(range(256)) * 200 + b"end"]),
)
things = st.one_of(
    st.builds(File, contents, st.sampled_from([0o644, 0o755, 0o600, 0o640, 0o700])),
    st.builds(Link, paths),
    st.builds(Folder, st.sampled_from([0o755, 0o700, 0o750])),
)


def _fits(tree: Tree) -> Tree:
    """Without what lies below a file or a link."""
    solid = [path for path, what in tree.items() if not isinstance(what, Folder)]
    return {path: what for path, what in tree.items() if not any(path.startswith(f"{each}/") for each in solid)}


trees = st.dictionaries(paths, things, max_size=8).map(_fits)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(trees, trees)
def test_any_tree_that_is_shipped_is_the_same_there(first: Tree, second: Tree) -> None:
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(_ship(Path(name), first, {**first, **second}, second))


@settings(max_examples=100, deadline=None)
@given(trees)
def test_a_listing_says_all_there_is_of_a_manifest(tree: Tree) -> None:
    with tempfile.TemporaryDirectory() as name:
        manifest = read_manifest(plant(Path(name) / "tree", tree))
        assert parse_listing(manifest.listing).entries == manifest.entries


async def _ship(place: Path, *versions: Tree) -> None:
    local = WorkingDirectory(plant(place / "manager", {}) / "shop")
    stock, host = Stock(local), ShHost(plant(place / "host", {}))
    far = FarDirectory(host, str(place / "host/shop"))
    for version, tree in enumerate(map(_fits, versions)):
        try:
            release = unpack(local, str(version), tree)
        except ArtifactError:  # links in a circle are no artifact
            assume(False)
        await far.ship(stock, str(version))
        assert seen(Path(far.path) / "releases" / str(version)) == seen(release)
        # Nothing had to be sent twice: whether it can be copied is known beforehand.
        assert host.scripts <= 3 + 2 * version
