"""Inverse of an encoder: from codes back to the values that they stand for."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sklearn_deepfm._encoder.field import MISSING_CODE
from sklearn_deepfm._encoder.output import code_columns
from sklearn_deepfm._tables.table import Columns


class InverseMixin:
    """Methods of an encoder that translate between codes and values."""

    n_features_in_: int
    field_dims_: np.ndarray
    field_kinds_: list[str]
    _fields: list
    _column_specs: list

    def inverse_transform(self, X):
        """Give back the values that codes stand for.

        Parameters
        ----------
        X : {array-like, dataframe} of shape (n_samples, n_fields)
            Codes, as `transform` gives them.

        Returns
        -------
        values : ndarray of shape (n_samples, n_fields), dtype=object
            The categories; for a bin its middle; for missing, unknown and hashed values, and for
            a number between two known ones, None; for a list the list of these; numbers as they
            are.

        Raises
        ------
        ValueError
            If X has not one column per field, or holds something that is no code of its field.
        """
        check_is_fitted(self)
        columns = code_columns(X, len(self._fields))
        values = np.empty((len(columns[0]), len(columns)), dtype=object)
        for j, (field, cells) in enumerate(zip(self._fields, columns, strict=True)):
            values_of_codes = _values_of_codes(field.of_values)

            def meaning(code, j=j, values_of_codes=values_of_codes):
                return values_of_codes[self._checked_code(j, code)]

            values[:, j] = [field.decode(cell, j, meaning) for cell in cells]
        return values

    def by_code(self, field, frame):
        """Replace categories by their codes, for embeddings that a model shall start from.

        Parameters
        ----------
        field : str or int
            Name or position of a column of categories.

        frame : DataFrame
            A row for each category, which is the frame's index.

        Returns
        -------
        frame : DataFrame
            The rows of the categories that have a code, by that code.

        Raises
        ------
        ValueError
            If the field has no categories, or the index holds another kind of values.
        """
        vocabulary = self._vocabulary_of(field)
        index = Columns(frame.index.to_frame(name=field))[0]
        codes, _ = vocabulary.encode(vocabulary.of_form(index))
        is_known = vocabulary.code_steps.position(codes) >= 0
        return frame[is_known].set_axis(codes[is_known])

    def by_category(self, field, frame):
        """Replace codes by their categories, for embeddings that a model has learned.

        Parameters
        ----------
        field : str or int
            Name or position of a column of categories.

        frame : DataFrame
            A row for each code, which is the frame's index.

        Returns
        -------
        frame : DataFrame
            The rows of the codes that stand for a category, by that category.
        """
        field = self._vocabulary_of(field)
        position = field.code_steps.position(frame.index)
        is_known = (position >= 0) & (position < field.n_known)
        categories = field.categories.to_numpy(zero_copy_only=False)
        return frame[is_known].set_axis(categories[position[is_known]])

    def _vocabulary_of(self, name):
        """The vocabulary of a column, or of the members of its lists."""
        check_is_fitted(self)
        names = list(getattr(self, "feature_names_in_", range(self.n_features_in_)))
        position = names.index(name) if name in names else name
        for field, spec in zip(self._fields, self._column_specs, strict=True):
            if spec.position == position and field.of_values.has_vocabulary:
                return field.of_values
        given = repr(name)
        if isinstance(name, Integral) and name not in names and name < len(names):
            given = f"{name} ({names[name]!r})"
        raise ValueError(
            f"field must be a column of categories that are not hashed, got {given}. The columns "
            f"are {names}, their kinds {self.field_kinds_}."
        )

    def _checked_code(self, j, code):
        is_number = isinstance(code, Real) and not isinstance(code, bool)
        if not is_number or code % 1 != 0 or not MISSING_CODE <= code < self.field_dims_[j]:
            raise ValueError(
                f"Column {j} of X holds {code}, which is no code of that field: its codes are the "
                f"whole numbers from 0 to {self.field_dims_[j] - 1}."
            )
        return int(code)


def _values_of_codes(field):
    """The value of each code up to the largest one, None where a code stands for none."""
    values = [None] * field.n_codes
    for position, value in enumerate(field.representatives.to_pylist()):
        values[field.code_steps.first + field.code_steps.step * position] = value
    return values
