"""Vocabularies whose codes say more than which category it is: whole numbers, and names."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import pyarrow as pa

from sklearn_deepfm._common.code_steps import NAMES, WHOLE_NUMBERS
from sklearn_deepfm._common.user_warning import warn_user
from sklearn_deepfm._encoder.field import FIRST_KNOWN_CODE, UNKNOWN_CODE
from sklearn_deepfm._encoder.vocabulary import Vocabulary
from sklearn_deepfm._serialization.plain_values import expect, expect_ascending
from sklearn_deepfm._tables.columns import Column
from sklearn_deepfm._tables.exact_numbers import EXACT_FLOAT

# New numbers are expected if more rows of fit than this share have one of their own.
_MANY_SINGLE = 0.25


class Names(Vocabulary):
    """Categories of which the user says that they are names: their order means nothing."""

    field_kind, description = "names", "categories"
    code_steps = NAMES

    def _place_unknown(self, column: Column, codes: np.ndarray, is_not_found: np.ndarray) -> None:
        if pa.types.is_integer(self.values.type):
            new = _numbers(column, is_not_found & (codes == UNKNOWN_CODE))
            _warn_of_floats(column.name, new, self.values)


@dataclass(frozen=True, eq=False)
class WholeNumbers(Vocabulary):
    """Whole numbers, which may be names or quantities: one that fit never saw has a place.

    The first `n_ordered` codes follow the order of the numbers. Numbers that are learned later
    get codes after all others, so that no code changes its meaning.
    """

    n_ordered: int = 0

    field_kind, description = "whole numbers", "categories"
    code_steps = WHOLE_NUMBERS
    _saved = {**Vocabulary._saved, "n_ordered": int}

    @property
    def n_codes(self) -> int:
        """One more than its largest code, that of a number beyond all known ones."""
        return FIRST_KNOWN_CODE + WHOLE_NUMBERS.step * self.n_known

    @property
    def is_sparse(self) -> bool:  # type: ignore[override]
        """Whether so many rows of fit have a number of their own that others will have too."""
        return bool((self.counts == 1).sum() > _MANY_SINGLE * self.counts.sum())

    def warn_if_nearly_unique(self, name: Hashable) -> None:
        """Do nothing: as quantities, numbers of one row each have neighbours."""

    def with_order(self) -> Self:
        """The same numbers, all of which are in the order of their codes."""
        return replace(self, n_ordered=self.n_known)

    @cached_property
    def ordered(self) -> np.ndarray:
        """The known numbers in ascending order, without those learned later.

        Empty where some numbers are too rare for a code: new ones then are what these are, and
        share their code.
        """
        is_in_order = (self.codes >= FIRST_KNOWN_CODE) & (
            self.codes < FIRST_KNOWN_CODE + self.n_ordered
        )
        has_rare = (self.codes == UNKNOWN_CODE).any()
        return self.values.to_numpy()[:0] if has_rare else self.values.to_numpy()[is_in_order]

    def _place_unknown(self, column: Column, codes: np.ndarray, is_not_found: np.ndarray) -> None:
        is_new = is_not_found & (codes == UNKNOWN_CODE)
        if not is_new.any():
            return
        numbers = _numbers(column, is_new)
        _warn_of_floats(column.name, numbers, self.values)
        if len(self.ordered):
            n_below = np.searchsorted(self.ordered, numbers, side="right")
            codes[is_new] = UNKNOWN_CODE + WHOLE_NUMBERS.step * n_below

    def _check_loaded(self) -> None:
        super()._check_loaded()
        expect(0 <= self.n_ordered <= self.n_known, "n_ordered")
        expect(pa.types.is_integer(self.values.type), "values")
        in_order = self.codes[(self.codes > UNKNOWN_CODE) & (self.codes < 2 + self.n_ordered)]
        expect_ascending(in_order, "codes")


def _numbers(column: Column, chosen: np.ndarray) -> np.ndarray:
    values = column.values.filter(pa.array(chosen))
    values = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
    return values.to_numpy(zero_copy_only=False)


def _warn_of_floats(name: Hashable, numbers: np.ndarray, known: pa.Array) -> None:
    """Warn of unknown floats that cannot be what fit saw, whole numbers alone."""
    if numbers.dtype.kind != "f":
        return
    numbers = numbers[np.isfinite(numbers)]
    fractions = numbers[numbers != np.trunc(numbers)]
    if len(fractions):
        warn_user(
            f"Column {name!r} held whole numbers alone when the encoder was fitted, and "
            f"{len(fractions)} of the numbers now are not whole, such as {float(fractions[0])!r}: "
            f"it is encoded as a number between two known ones or, where there is no such code, "
            f"as unknown. Check that the column is the one of fit; if it is a quantity, name it "
            f"in numeric_features and fit again.",
            topic=("not whole", name),
        )
    largest = np.abs(numbers).max(initial=0)
    largest_known = max(-known[0].as_py(), known[-1].as_py())
    if EXACT_FLOAT < largest < 2.0**64 and largest_known > EXACT_FLOAT:
        warn_user(
            f"Column {name!r} held integers beyond 2**53 when the encoder was fitted and holds "
            f"floats now, of up to {largest:.4g}, which do not tell neighbouring ones apart: they "
            f"are unknown. Read them as integers, as pandas.read_csv(..., "
            f"dtype={{{name!r}: 'Int64'}}) does with missing values too.",
            topic=("floats of integers", name),
        )
