"""Steps between codes, from which an estimator reads what the codes of a column stand for."""

import numpy as np
import pytest

from sklearn_deepfm._common.code_steps import (
    CATEGORIES,
    NAMES,
    QUANTITIES,
    WHOLE_NUMBERS,
    steps_of,
)

STEPS = CATEGORIES, WHOLE_NUMBERS, NAMES, QUANTITIES


@pytest.mark.parametrize("steps", STEPS, ids=str)
def test_steps_are_read_from_the_codes_beside_missing_and_rare_ones(steps):
    codes = steps.code(np.arange(20))
    assert codes[0] == steps.first
    assert steps_of(codes) == steps
    assert steps_of(np.concatenate([[0, 1], codes])) == steps
    assert steps_of(codes[[0, 3, 4, 5, 7, 9, 11, 12, 15]]) == steps


@pytest.mark.parametrize("steps", STEPS, ids=str)
def test_position_undoes_code(steps):
    position = np.arange(7)
    assert steps.position(steps.code(position)).tolist() == position.tolist()
    assert steps.position(np.array([0, 1])).tolist() == [-1, -1]


@pytest.mark.parametrize("codes", [[], [0], [0, 1], [-2, 0, 2, 4], [2, 3], [7, 18, 24]], ids=str)
def test_other_codes_are_those_of_categories(codes):
    assert steps_of(np.array(codes, np.int64)) == CATEGORIES


def test_few_multiples_of_four_may_be_anything():
    assert steps_of(np.arange(4, 32, 4)) == WHOLE_NUMBERS
    assert steps_of(np.arange(4, 36, 4)) == QUANTITIES


def test_ids_that_count_in_hundreds_are_no_quantities():
    assert steps_of(np.arange(100, 3000, 100)) == WHOLE_NUMBERS
