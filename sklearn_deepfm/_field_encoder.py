"""OrdinalFieldEncoder: a table of categories and quantities as a matrix of small integer codes."""

from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from sklearn_deepfm._field_codes import (
    FIRST_KNOWN,
    MISSING,
    NOTHING_KNOWN,
    Bins,
    Vocabulary,
    warn_if_mostly_unknown,
    warn_if_nearly_unique,
)
from sklearn_deepfm._parameters import (
    check_parameters,
    instance,
    integer,
    one_of,
    real,
    sequence_of,
)
from sklearn_deepfm._selection import as_field, selected_features
from sklearn_deepfm._tables import column_names, columns_of, read_table, validate_names

_SELECTION = one_of(None) | sequence_of(
    instance(str, "a name") | integer(0), "a list of column names or positions"
)
_PARAMETER_RULES = {
    "min_frequency": integer(1) | real("(0, 1)"),
    "max_categories": one_of(None) | integer(1),
    "n_bins": one_of("auto") | integer(2),
    "categorical_features": _SELECTION,
    "numeric_features": _SELECTION,
}


class OrdinalFieldEncoder(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Encode each column of any table as a field of small integer codes.

    Each cell becomes one code, which is local to its column:

    ========  ====================================================================
    Code      Meaning
    ========  ====================================================================
    0         missing: None, NaN, NaT or NA
    1         unknown: a category that fit did not see, or that is too rare
    2, 3, ..  the known categories in ascending order, or the bins of a quantity
    ========  ====================================================================

    Strings, category columns, booleans and whole numbers (also floats, as ids with a gap often
    arrive) are categories. Numbers with a fraction, dates, times and durations are quantities,
    cut into bins at their quantiles. `categorical_features` and `numeric_features` override
    this. The same data gives the same codes in a pandas, polars or pyarrow table, a NumPy array
    and a list of lists.

    Parameters
    ----------
    min_frequency : int or float, default=1
        Categories in fewer rows than this share code 1. An int counts rows, a float between 0
        and 1 is a share of all rows. With 2 or more, fit sees code 1 too, so that a model learns
        what a rare category is like; values between 2 and 20 make sense.

    max_categories : int, default=None
        At most this many categories of a column get a code of their own, the most frequent
        ones; of equally frequent ones, the smaller. It bounds the memory of a model's tables.

    n_bins : int or "auto", default="auto"
        At most this many bins per column of quantities. More bins follow a curve more closely,
        and leave fewer rows to learn each. "auto" takes up to 255, each with 20 rows or more (or
        two bins when there are fewer than 40 rows).

    categorical_features : list of str or int, default=None
        Names or positions of columns whose values are categories, whatever their type.

    numeric_features : list of str or int, default=None
        Names or positions of columns of numbers or dates to bin, although they would be taken
        for categories: ages or counts, say.

    Attributes
    ----------
    categories_ : list of ndarray
        For each column of categories the known values, the first of which has code 2. For each
        column of quantities the edges of its bins, one more than there are bins; a bin holds
        its left edge and not its right one. Built anew each time it is asked for.

    field_kinds_ : list of str
        For each column "categories", "bins", or "empty" when all its values were missing.

    field_dims_ : ndarray of shape (`n_features_in_`,), dtype=int64
        How many codes each column has: 2 more than its known categories or bins.

    n_samples_seen_ : int
        Number of rows that fit and all later calls of `partial_fit` have seen.

    n_features_in_ : int
        Number of columns seen by fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, when they all are strings.

    See Also
    --------
    sklearn.preprocessing.OrdinalEncoder : Codes in floats, without codes kept for missing,
        unknown and rare values.
    sklearn.preprocessing.KBinsDiscretizer : Bins alone.

    Notes
    -----
    A column must hold at transform what it held at fit: numbers, strings, booleans, dates,
    durations or times; missing values may stand anywhere. Whole numbers and floats are both
    numbers: 3.0 is the category 3, and 2.5 is unknown to a column of whole numbers. Booleans
    are no numbers.

    Floats beyond 2**53 in size do not tell neighbouring whole numbers apart, so a float column
    with such values is a quantity. Dates are kept to the microsecond. A column that was all
    missing at fit learns its kind from the first values that `partial_fit` shows it.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_deepfm import OrdinalFieldEncoder
    >>> X = pd.DataFrame({"city": ["Rome", "Oslo", None, "Rome"], "user": [7, 9, 7, 7]})
    >>> encoder = OrdinalFieldEncoder().fit(X)
    >>> encoder.transform(X)
    array([[3, 2],
           [2, 3],
           [0, 2],
           [3, 2]], dtype=int32)
    >>> encoder.transform(pd.DataFrame({"city": ["Bonn"], "user": [9]}))
    array([[1, 3]], dtype=int32)
    >>> encoder.field_dims_
    array([4, 4])
    """

    def __init__(
        self,
        *,
        min_frequency=1,
        max_categories=None,
        n_bins="auto",
        categorical_features=None,
        numeric_features=None,
    ):
        self.min_frequency = min_frequency
        self.max_categories = max_categories
        self.n_bins = n_bins
        self.categorical_features = categorical_features
        self.numeric_features = numeric_features

    def fit(self, X, y=None):
        """Learn the kind of each column, and its categories or bins.

        Parameters
        ----------
        X : {array-like, dataframe} of shape (n_samples, n_features)
            The table to learn.

        y : None, default=None
            Ignored; here for pipelines.

        Returns
        -------
        self : OrdinalFieldEncoder
            The fitted encoder. A fit that raises leaves it as it was.

        Raises
        ------
        ValueError
            If a parameter is not what it may be, or names no column, or a column to be binned
            holds infinity.
        TypeError
            If X is sparse, or a column holds values of several types, nested or complex ones.
        """
        self._learn(read_table(X))
        return self

    def fit_transform(self, X, y=None):
        """Learn the table and encode it, faster than by `fit` and `transform`.

        Parameters
        ----------
        X : {array-like, dataframe} of shape (n_samples, n_features)
            The table to learn and encode.

        y : None, default=None
            Ignored; here for pipelines.

        Returns
        -------
        codes : ndarray of shape (n_samples, n_features), dtype=int32
            The codes, or a data frame if `set_output` asks for one.

        Raises
        ------
        ValueError, TypeError
            As `fit` does.
        """
        table = read_table(X)
        codes = np.empty(table.shape, dtype=np.int32)
        self._learn(table, codes)
        return codes

    def partial_fit(self, X, y=None):
        """Learn more rows; every code given so far keeps its meaning.

        The first call is a fit. Later ones append codes for new categories, in ascending order
        within the call, and for categories whose count over all calls now reaches
        `min_frequency`, until there are `max_categories`. Bins stay as they are.

        Parameters
        ----------
        X : {array-like, dataframe} of shape (n_samples, n_features)
            More rows of the table.

        y : None, default=None
            Ignored; here for pipelines.

        Returns
        -------
        self : OrdinalFieldEncoder
            The encoder. A call that raises leaves it as it was.

        Raises
        ------
        ValueError, TypeError
            As `fit` and `transform` do.
        """
        if not hasattr(self, "_fields"):
            return self.fit(X)
        check_parameters(self, _PARAMETER_RULES)
        table = self._read_like_fitted(X)
        n_rows = self.n_samples_seen_ + len(table)
        selected = selected_features(self, column_names(table))
        fields = [
            self._learned_more(field, column, selected.get(j), n_rows)
            for j, (field, column) in enumerate(zip(self._fields, columns_of(table), strict=True))
        ]
        self._remember(fields, n_rows)
        return self

    def transform(self, X):
        """Encode a table.

        Parameters
        ----------
        X : {array-like, dataframe} of shape (n_samples, n_features)
            A table with the columns seen by fit, in the same order.

        Returns
        -------
        codes : ndarray of shape (n_samples, n_features), dtype=int32
            The codes, or a data frame if `set_output` asks for one.

        Raises
        ------
        ValueError
            If the columns are not those of fit, or one holds another kind of values.
        TypeError
            If X is sparse, or a column holds values of several types, nested or complex ones.
        """
        check_is_fitted(self)
        table = self._read_like_fitted(X)
        codes = np.empty(table.shape, dtype=np.int32)
        for j, (field, column) in enumerate(zip(self._fields, columns_of(table), strict=True)):
            _check_kind(field, column)
            codes[:, j], n_unseen = field.encode(column)
            warn_if_mostly_unknown(column, n_unseen)
        return codes

    def inverse_transform(self, X):
        """Give back the values that codes stand for.

        Parameters
        ----------
        X : {array-like, dataframe} of shape (n_samples, n_features)
            Codes, as `transform` gives them.

        Returns
        -------
        values : ndarray of shape (n_samples, n_features), dtype=object
            The categories; for a bin its middle; for missing and unknown values None.

        Raises
        ------
        ValueError
            If X has not one column per field, or holds something that is no code of its field.
        """
        check_is_fitted(self)
        codes = check_array(X)
        if codes.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {codes.shape[1]} columns of codes, and the encoder has "
                f"{self.n_features_in_} fields. Give one column for each field."
            )
        values = np.empty(codes.shape, dtype=object)
        for j, field in enumerate(self._fields):
            known = field.representatives.to_pylist()
            meaning = np.array([None] * FIRST_KNOWN + known, dtype=object)
            values[:, j] = meaning[self._checked_codes(codes[:, j], j)]
        return values

    @property
    def categories_(self):
        """The known values, or the edges of the bins, of each column."""
        check_is_fitted(self)
        return [field.categories.to_numpy(zero_copy_only=False) for field in self._fields]

    def _learn(self, table, codes=None):
        """Fit on a table, and write its codes to `codes` in the same pass."""
        check_parameters(self, _PARAMETER_RULES)
        selected = selected_features(self, column_names(table))
        fields = []
        for j, column in enumerate(columns_of(table)):
            column = as_field(column, selected.get(j))
            field = self._learned(column, len(table))
            warn_if_nearly_unique(column, field)
            if codes is not None:
                codes[:, j], _ = field.encode(column)
            fields.append(field)
        # Only now, for it sets attributes: a fit that fails changes nothing.
        validate_names(self, table, reset=True)
        self._remember(fields, len(table))

    def _learned(self, column, n_rows):
        if column.kind is None:
            return NOTHING_KNOWN
        if column.is_encoded():
            return Vocabulary.empty(column).extended(column, *self._limits(n_rows))
        return Bins.learned(column, None if self.n_bins == "auto" else self.n_bins)

    def _limits(self, n_rows):
        """The rows a category needs to earn a code, and how many categories may have one."""
        is_share = not isinstance(self.min_frequency, Integral)
        return self.min_frequency * (n_rows if is_share else 1), self.max_categories

    def _learned_more(self, field, column, selected_by, n_rows):
        if field.kind is None:
            return self._learned(as_field(column, selected_by), n_rows)
        _check_kind(field, column)
        if isinstance(field, Bins) or column.kind is None:
            return field
        return field.extended(column.as_categories(), *self._limits(n_rows))

    def _remember(self, fields, n_rows):
        self._fields = fields
        self.field_kinds_ = [_name_of_kind(field) for field in fields]
        self.field_dims_ = np.array([FIRST_KNOWN + field.n_known for field in fields], np.int64)
        self.n_samples_seen_ = n_rows

    def _read_like_fitted(self, X):
        table = read_table(X)
        validate_names(self, table, reset=False)
        return table

    def _checked_codes(self, codes, j):
        """Codes of field j as integers."""
        is_code = (codes >= MISSING) & (codes < self.field_dims_[j]) & (codes % 1 == 0)
        if not is_code.all():
            raise ValueError(
                f"Column {j} of X holds {codes[~is_code][0]}, which is no code of that field: its "
                f"codes are the whole numbers from 0 to {self.field_dims_[j] - 1}."
            )
        return codes.astype(np.intp)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def _check_kind(field, column):
    if None in (field.kind, column.kind) or field.kind == column.kind:
        return
    raise ValueError(
        f"Column {column.name!r} held {field.kind} when the encoder was fitted and holds "
        f"{column.kind} now. Convert it to {field.kind}, or fit the encoder again."
    )


def _name_of_kind(field):
    if field.kind is None:
        return "empty"
    return "bins" if isinstance(field, Bins) else "categories"
