"""OrdinalFieldEncoder: a table of categories and quantities as a matrix of small integer codes."""

import numpy as np
import pandas as pd
from sklearn import get_config
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from sklearn_deepfm._common.parameter_rules import (
    Rule,
    check_parameters,
    dict_of,
    instance,
    integer,
    one_of,
    real,
    sequence_of,
)
from sklearn_deepfm._common.sklearn_callbacks import CallbackSupportMixin, one_task
from sklearn_deepfm._common.user_warning import warn_user
from sklearn_deepfm._encoder.column_specs import column_specs_of
from sklearn_deepfm._encoder.field_types import extend_field, learn_field
from sklearn_deepfm._encoder.hashed import MOST_HASH_DIM
from sklearn_deepfm._encoder.inverse import InverseMixin
from sklearn_deepfm._encoder.kind_warnings import warn_if_mostly_unknown, warn_of_kind
from sklearn_deepfm._encoder.output import EncodedColumns
from sklearn_deepfm._encoder.state import EncoderState
from sklearn_deepfm._encoder.stream_learning import learn_fields_of_stream
from sklearn_deepfm._tables.pandas_index import note_of_index, pandas_index
from sklearn_deepfm._tables.stream import Stream, is_stream, stream_like_fitted, stream_to_fit
from sklearn_deepfm._tables.table import (
    Columns,
    column_names,
    read_table,
    refuse_other_containers,
    validate_names,
)

_COLUMN = instance(str, "a name") | integer(0)
_KEY = "a column's name or position"
_SELECTION = one_of(None) | sequence_of(_COLUMN, "a list of column names or positions")
_SEPARATOR = Rule(
    lambda value: isinstance(value, str) and value != "", "a string that is not empty"
)
_HASH_DIM = Rule(
    lambda value: integer(1).accepts(value) and value <= MOST_HASH_DIM, "an int from 1 to 2**30"
)
_PARAMETER_RULES = {
    "min_frequency": integer(1) | real("(0, 1)"),
    "max_categories": one_of(None) | integer(1),
    "n_bins": one_of("auto", None) | integer(2),
    "hash_dims": one_of(None) | _HASH_DIM | dict_of(_KEY, _HASH_DIM),
    "categorical_features": _SELECTION,
    "numeric_features": _SELECTION,
    "separators": one_of(None) | dict_of(_KEY, _SEPARATOR),
    "member_weights": one_of(None) | dict_of(_KEY, _COLUMN),
}


class OrdinalFieldEncoder(
    InverseMixin,
    EncoderState,
    CallbackSupportMixin,
    OneToOneFeatureMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Encode each column of any table as a field of small integer codes.

    Each cell becomes one code, which is local to its column:

    ========  ====================================================================
    Code      Meaning
    ========  ====================================================================
    0         missing: None, NaN, NaT or NA
    1         unknown: a category that fit did not see, or that is too rare
    2, 3, ..  the known categories in ascending order
    ========  ====================================================================

    Whole numbers (also floats, as ids with a gap often arrive) have the codes 2, 4, 6, .. in
    their order, and a number that fit did not see has the odd code between those of its
    neighbours, 1 if it is below all: they may be ids or quantities, and the estimators learn from
    y which. Numbers with a fraction, dates, times and durations are quantities, cut into up to
    1,024 bins at their quantiles, with the codes 4, 8, 12, .. in their order. The steps between
    the codes tell the estimators what these are; codes of both kinds serve other models as
    ordinal numbers. Strings and booleans are categories, and so are fractions and dates of a
    category dtype; of whole numbers the estimators ask y whatever their dtype.

    `categorical_features` and `numeric_features` override this: a column named in the first has
    the codes 3, 5, 7, .., and remains one of categories whatever y says; one named in the second
    is a quantity. The same data gives the same codes in a pandas, polars or pyarrow table, a
    NumPy array and a list of lists.

    Cells may also hold several categories: lists, or strings to take apart at a separator. Each
    member of such a cell has a code, and the field is a column of lists of codes. A missing cell
    is the list [0], an empty one an empty list.

    Parameters
    ----------
    min_frequency : int or float, default=1
        Categories in fewer rows than this share code 1. An int counts rows, a float between 0
        and 1 is a share of all rows; of lists, members count. With 2 or more, fit sees code 1
        too, so that a model learns what a rare category is like; values between 2 and 20 make
        sense.

    max_categories : int, default=None
        At most this many categories of a column get a code of their own, the most frequent
        ones; of equally frequent ones, the smaller. It bounds the memory of a model's tables.

    n_bins : int, "auto" or None, default="auto"
        At most this many bins per column of quantities. "auto" takes up to 1,024: the estimators
        join neighbouring ones. None passes quantities on as numbers, dates as microseconds since
        1970, for the estimators to scale; where there are any, the output is a data frame.

    hash_dims : int or dict, default=None
        Number of codes that the categories of a column share, each by its hash, instead of
        having one each: for a vocabulary without end, at a bounded size and with nothing
        learned. No value is unknown then, and `min_frequency` and `max_categories` have no
        effect. An int holds for all columns of categories, a dict from names or positions for
        the columns it names. The hash is the same in every process and on every platform.

    categorical_features : list of str or int, default=None
        Names or positions of columns whose values are categories, whatever their type.

    numeric_features : list of str or int, default=None
        Names or positions of columns of numbers that are quantities whatever y says: ages or
        counts, say.

    separators : dict, default=None
        From names or positions of columns of strings that hold several categories to the
        string between these: ``{"genres": "|"}``. Empty parts are dropped.

    member_weights : dict, default=None
        From names or positions of columns of lists to those of the weights of their members,
        lists of equal lengths of numbers: ``{"basket": "amounts"}``. A column of
        weights is no field of its own. Fields with weights are lists of structs of a code and a
        weight.

    Attributes
    ----------
    categories_ : list of ndarray
        For each field of categories the known values, in the order of their codes. For each
        field of quantities the edges of its bins, one more than there are bins; a bin holds
        its left edge and not its right one. Empty for hashed fields and numbers. Built anew each
        time it is asked for.

    field_kinds_ : list of str
        For each field "categories", "hashed", "bins", "numbers", "empty" when all its values
        were missing, or one of "lists of categories", "lists of hashed" and "lists of empty".

    field_dims_ : ndarray of shape (n_fields,), dtype=int64
        One more than the largest code of each field; 0 for numbers.

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
    A date or time is one quantity, from which neither weekday nor hour can be learned: where these
    matter, add the columns ``X["when"].dt.day_of_week`` and ``X["when"].dt.hour``.

    A column must hold at transform what it held at fit: numbers, strings, booleans, dates,
    durations or times; missing values may stand anywhere. Whole numbers and floats are both
    numbers: 3.0 is 3, and 2.5 has a place between 2 and 3. Booleans are no numbers.

    Whole numbers are exact up to 64 bits, as integers of any table, as Python's and as decimals
    without a fraction, which are whole numbers too; larger ones are refused. Floats beyond 2**53
    in size do not tell neighbouring whole numbers apart, so a float column with such values is a
    quantity. A number has one code in float32 and in float64: those of bins are compared in the
    coarser type, and a category of float32 is what it is written as, .1 and not .10000000149.

    Sets are lists of their members in sorted order. Dates are kept to the microsecond. A column
    that was all missing at fit learns its kind from the first values that `partial_fit` shows it.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_deepfm import OrdinalFieldEncoder
    >>> X = pd.DataFrame({"city": ["Rome", "Oslo", None, "Rome"], "user": [7, 9, 7, 7]})
    >>> encoder = OrdinalFieldEncoder().fit(X)
    >>> encoder.transform(X)
    array([[3, 2],
           [2, 4],
           [0, 2],
           [3, 2]], dtype=int32)
    >>> encoder.transform(pd.DataFrame({"city": ["Bonn"], "user": [8]}))
    array([[1, 3]], dtype=int32)
    >>> encoder.field_dims_
    array([4, 6])
    """

    def __init__(
        self,
        *,
        min_frequency=1,
        max_categories=None,
        n_bins="auto",
        hash_dims=None,
        categorical_features=None,
        numeric_features=None,
        separators=None,
        member_weights=None,
    ):
        self.min_frequency = min_frequency
        self.max_categories = max_categories
        self.n_bins = n_bins
        self.hash_dims = hash_dims
        self.categorical_features = categorical_features
        self.numeric_features = numeric_features
        self.separators = separators
        self.member_weights = member_weights

    def fit(self, X, y=None, *, leave_out=None):
        """Learn the kind of each column, and its categories or bins.

        Parameters
        ----------
        X : {array-like, dataframe} of shape (n_samples, n_features), or pyarrow.dataset.Dataset
            The table to learn. A data set is read part by part and need not fit in memory;
            quantiles of more than 1,048,576 rows are those of a sample of so many. Columns
            that pandas wrote as the index of a data frame are left out.

        y : str or list of str, default=None
            Of a data set the column, or columns, of the target, which are no features.
            Otherwise ignored; here for pipelines.

        leave_out : str or list of str, default=None
            Of a data set further columns that are no features, such as weights.

        Returns
        -------
        self : OrdinalFieldEncoder
            The fitted encoder. A fit that raises leaves it as it was.

        Raises
        ------
        ValueError
            If a parameter is not what it may be, or names no column, or a column of quantities
            holds infinity.
        TypeError
            If X is sparse, or a column holds values of several types, nested or complex ones.
        """
        with one_task(self, X, y):
            if is_stream(X):
                self._learn_stream(X, y, leave_out)
            else:
                self._learn(_table(X, leave_out))
        return self

    def fit_transform(self, X, y=None, *, leave_out=None):
        """Learn the table and encode it, faster than by `fit` and `transform`.

        Parameters
        ----------
        X : {array-like, dataframe} of shape (n_samples, n_features), or pyarrow.dataset.Dataset
            The table to learn and encode.

        y : str or list of str, default=None
            As in `fit`.

        leave_out : str or list of str, default=None
            As in `fit`.

        Returns
        -------
        codes : ndarray of shape (n_samples, n_fields), dtype=int32
            The codes. A data frame if a field is of lists or numbers, which are columns of
            type Arrow list<int32> and floats, or if `set_output` asks for one. Of a data set
            a stream of these for the estimators, encoded as it is read.

        Raises
        ------
        ValueError, TypeError
            As `fit` does.
        """
        with one_task(self, X, y):
            if is_stream(X):
                self._refuse_output()
                return self._learn_stream(X, y, leave_out).encoded(self.transform)
            return self._learn(_table(X, leave_out), encodes=True)

    def partial_fit(self, X, y=None):
        """Learn more rows; every code given so far keeps its meaning.

        The first call is a fit. Later ones append codes for new categories, in ascending order
        within the call, and for categories whose count over all calls now reaches
        `min_frequency`, until there are `max_categories`. Whole numbers get codes after those of
        fit, whatever their size. Bins stay as they are.

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
        refuse_other_containers(X)
        if not hasattr(self, "_fields"):
            return self.fit(X)
        check_parameters(self, _PARAMETER_RULES)
        table = self._read_like_fitted(X)
        n_rows, columns = self.n_samples_seen_ + len(table), Columns(table)
        # All fields before any is stored: a call that raises must leave the encoder as it was.
        fields = [
            extend_field(self, field, spec, spec.read(columns), n_rows)
            for field, spec in zip(self._fields, self._column_specs, strict=True)
        ]
        self._remember(fields, n_rows)
        return self

    def transform(self, X):
        """Encode a table.

        Parameters
        ----------
        X : {array-like, dataframe} of shape (n_samples, n_features), or pyarrow.dataset.Dataset
            A table with the columns seen by fit, in the same order; a data set with these
            among its columns.

        Returns
        -------
        codes : ndarray of shape (n_samples, n_fields), dtype=int32
            The codes. A data frame if a field is of lists or numbers, which are columns of
            type Arrow list<int32> and floats, or if `set_output` asks for one. Of a data set
            a stream of these for the estimators, encoded as it is read.

        Raises
        ------
        ValueError
            If the columns are not those of fit, or one holds another kind of values.
        TypeError
            If X is sparse, or a column holds values of several types, nested or complex ones.
        """
        check_is_fitted(self)
        if is_stream(X):
            self._refuse_output()
            return stream_like_fitted(self, X).encoded(self.transform)
        table = self._read_like_fitted(X)
        columns, output = Columns(table), EncodedColumns(table, len(self._fields))
        for j, (field, spec) in enumerate(zip(self._fields, self._column_specs, strict=True)):
            column = field.of_form(spec.read(columns))
            encoded, n_unseen = field.encode(column)
            output.add(j, encoded)
            warn_if_mostly_unknown(field.of_values, column.cells, n_unseen)
        return self._output(output)

    def get_feature_names_out(self, input_features=None):
        """Names of the fields: those of the columns, but for columns of weights.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the columns, where fit saw none.

        Returns
        -------
        names : ndarray of str
            One name for each column of what `transform` gives.
        """
        names = super().get_feature_names_out(input_features)
        return names[[spec.position for spec in self._column_specs]]

    @property
    def categories_(self):
        """The known values, or the edges of the bins, of each field."""
        check_is_fitted(self)
        return [field.categories.to_numpy(zero_copy_only=False) for field in self._fields]

    def _learn(self, table, encodes=False):
        """Fit to a table, and encode it in the same pass if `encodes`."""
        check_parameters(self, _PARAMETER_RULES)
        specs, columns = column_specs_of(self, column_names(table)), Columns(table)
        fields, output = [], EncodedColumns(table, len(specs))
        for j, spec in enumerate(specs):
            column = spec.as_field(spec.read(columns))
            field = learn_field(self, column, spec, len(table))
            field.warn_if_nearly_unique(column.name)
            warn_of_kind(column.name, field, spec)
            if encodes:
                output.add(j, field.encode(field.of_form(column))[0])
            fields.append(field)
        # Last, because it sets attributes: a fit that raises must leave the encoder as it was.
        validate_names(self, table, reset=True)
        self._column_specs = specs
        self._remember(fields, len(table))
        return self._output(output) if encodes else None

    def _learn_stream(self, X, y, leave_out):
        """Fit to a data set, and return the stream of its features."""
        check_parameters(self, _PARAMETER_RULES)
        if isinstance(X, Stream):
            raise TypeError("X is encoded already: give the pyarrow.dataset.Dataset itself.")
        stream = stream_to_fit(X, ("y", y), ("leave_out", leave_out))
        for note in stream.notes:
            warn_user(note)
        specs, fields, n_rows = learn_fields_of_stream(self, stream)
        for spec, field in zip(specs, fields, strict=True):
            field.warn_if_nearly_unique(stream.names[spec.position])
            warn_of_kind(stream.names[spec.position], field, spec)
        # Names are all that scikit-learn learns here: an empty frame has them.
        validate_names(self, pd.DataFrame(columns=stream.names), reset=True)
        self._column_specs = specs
        self._remember(fields, n_rows)
        return stream

    def _output(self, columns):
        names = self.get_feature_names_out()
        named = [spec.selected_by == "numeric_features" for spec in self._column_specs]
        return columns.table(names, names[named])

    def _refuse_output(self):
        own = getattr(self, "_sklearn_output_config", {})
        container = own.get("transform", get_config()["transform_output"])
        if container != "default":
            raise ValueError(
                f"set_output(transform={container!r}) asks for a table, and a data set is encoded "
                f"as it is read, to no table. Set it to 'default', or transform tables."
            )

    def _remember(self, fields, n_rows):
        self._fields = fields
        self.field_kinds_ = [field.description for field in fields]
        self.field_dims_ = np.array([field.n_codes for field in fields], np.int64)
        self.n_samples_seen_ = n_rows

    def _read_like_fitted(self, X):
        table = read_table(X, getattr(self, "feature_names_in_", ()))
        validate_names(self, table, reset=False)
        return table

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def _table(X, leave_out):
    if leave_out is not None:
        raise ValueError(
            f"leave_out={leave_out!r} is for columns of a pyarrow.dataset.Dataset, got a "
            f"{type(X).__name__} as X. Drop the columns."
        )
    if index := pandas_index(X):
        warn_user(note_of_index(index))
    return read_table(X)
