"""How the server is imported: with less work, and without a trace for whatever comes after."""

from __future__ import annotations

import gc

import pytest
from pydantic import BaseModel

from longshore.importing import quickly


def test_models_that_are_defined_meanwhile_are_built_when_they_are_used() -> None:
    with quickly():

        class Late(BaseModel):
            number: int

    assert not Late.__pydantic_complete__
    assert Late.model_validate({"number": 3}).number == 3
    assert Late.__pydantic_complete__


def test_afterwards_models_are_built_at_once_again() -> None:
    with pytest.raises(ImportError), quickly():
        raise ImportError

    class Early(BaseModel):
        number: int

    assert Early.__pydantic_complete__


@pytest.mark.parametrize("collecting", [True, False])
def test_garbage_is_looked_for_afterwards_where_it_was_before(collecting: bool) -> None:
    (gc.enable if collecting else gc.disable)()
    try:
        with quickly():
            assert not gc.isenabled()
        assert gc.isenabled() is collecting
    finally:
        gc.enable()
        gc.unfreeze()
