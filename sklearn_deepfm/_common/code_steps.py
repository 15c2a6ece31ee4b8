"""Steps between the codes of a column, by which an encoder says what these codes stand for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class CodeSteps(NamedTuple):
    """The first known code, and the step from each known code to the next.

    A matrix of codes has no room for the kinds of its columns. The steps carry them: an estimator
    reads from the codes alone what may be done with neighbouring ones.
    """

    first: int
    step: int

    def code(self, position: np.ndarray) -> np.ndarray:
        """The code of the category, or bin, at each position."""
        return self.first + self.step * position

    def position(self, code: np.ndarray) -> np.ndarray:
        """The position that each known code stands for; -1 for any other code."""
        place, rest = np.divmod(np.asarray(code) - self.first, self.step)
        return np.where((rest == 0) & (place >= 0), place, -1)


# 2, 3, 4, ..: categories in an order that may mean something, such as that of strings.
CATEGORIES = CodeSteps(2, 1)
# 2, 4, 6, ..: whole numbers in their order. A number between two of them has the code between.
WHOLE_NUMBERS = CodeSteps(2, 2)
# 3, 5, 7, ..: names, whose order means nothing: the user says so, or they are hashed.
NAMES = CodeSteps(3, 2)
# 4, 8, 12, ..: quantities in their order.
QUANTITIES = CodeSteps(4, 4)

# Fewer codes are multiples of four by chance, and do not need the slope of quantities.
_FEWEST_QUANTITIES = 8


def steps_of(codes: np.ndarray) -> CodeSteps:
    """What the known codes of a column, distinct ones, stand for by the steps between them."""
    if not len(codes) or codes.min() < 0:
        return CATEGORIES
    known = codes[codes >= CATEGORIES.first]
    if not len(known):
        return CATEGORIES
    if (known % 2 == 1).all():
        return NAMES
    # Ids that count in hundreds are multiples of four, too, and have a larger common divisor.
    if np.gcd.reduce(known) == QUANTITIES.step and len(known) >= _FEWEST_QUANTITIES:
        return QUANTITIES
    return WHOLE_NUMBERS if (known % 2 == 0).all() else CATEGORIES
