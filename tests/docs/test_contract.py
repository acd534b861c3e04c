"""Every line of the contract is held by a test, which a reader finds by its name."""

import ast
from functools import cache

import pytest

from support.documents import ROOT, headings_of, rows_of, spans

CONTRACT = "docs/contract.md"
ROWS = [row for row in rows_of(CONTRACT) if row[0] != "it says"]
NAMED = sorted({name for row in ROWS for name in spans(row[-1])})


@cache
def named_in(path: str) -> frozenset[str]:
    """Names of the test functions of a file below tests/."""
    tree = ast.parse((ROOT / "tests" / path).read_text("utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(
        node.name for node in ast.walk(tree) if isinstance(node, functions) and node.name.startswith("test_")
    )


@pytest.mark.parametrize("named", NAMED)
def test_every_test_that_holds_a_line_of_the_contract_exists(named):
    path, separator, name = named.partition("::")
    assert separator
    assert (ROOT / "tests" / path).is_file()
    assert name in named_in(path)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_line_of_the_contract_is_held_by_a_test(row):
    assert row[0]
    assert spans(row[-1])


def test_every_test_of_the_seed_document_stands_in_the_contract():
    path = "unit/api/test_seed_contract.py"
    assert {f"{path}::{name}" for name in named_in(path)} <= set(NAMED)


def test_every_part_of_the_api_has_its_lines():
    parts = {"The seed document", "Shapes", "Rate limits", "Beyond the seed", "WebSocket …/{name}/progress"}
    assert parts <= set(headings_of(CONTRACT))
