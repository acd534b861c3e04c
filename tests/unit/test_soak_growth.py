"""The one piece of arithmetic by which the soak (benchmarks/soak.py) tells a leak from noise."""

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest


def loaded() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks/soaking/growth.py"
    spec = importlib.util.spec_from_file_location("soak_growth", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


module = loaded()
growth, least = module.growth, module.least
MINUTES = range(0, 18 * 60, 60)


def test_what_stays_does_not_grow() -> None:
    grew = growth([(at, 100) for at in MINUTES])
    assert (grew.slope, grew.low, grew.high) == (0, 0, 0)


def test_one_descriptor_a_minute_is_sixty_an_hour() -> None:
    grew = growth([(at, 100 + at / 60) for at in MINUTES])
    assert grew.slope == grew.low == grew.high == pytest.approx(60)


def test_a_sample_in_four_that_is_far_off_bends_nothing() -> None:
    chance = random.Random(1)
    wild = set(chance.sample(list(MINUTES), 4))
    grew = growth([(at, 100 + at / 60 + (500 if at in wild else 0)) for at in MINUTES])
    assert grew.slope == pytest.approx(60)


def test_noise_around_a_level_is_no_growth_and_the_interval_says_so() -> None:
    chance = random.Random(2)
    grew = growth([(at, 100 + chance.gauss(0, 3)) for at in MINUTES])
    assert grew.low < 0 < grew.high


def test_a_leak_under_noise_is_outside_of_the_interval_of_none() -> None:
    chance = random.Random(3)
    grew = growth([(at, at / 60 + chance.gauss(0, 2)) for at in MINUTES])
    assert 0 < grew.low < grew.slope < grew.high


def test_two_samples_say_nothing() -> None:
    with pytest.raises(ValueError, match="three are needed"):
        growth([(0, 1), (60, 2)])


def test_what_comes_and_goes_is_not_in_the_least_of_several_looks_and_what_stays_is() -> None:
    assert least([{"files": 90, "tasks": 5}, {"files": 72, "tasks": 6}, {"files": 75}]) == {"files": 72, "tasks": 0}
