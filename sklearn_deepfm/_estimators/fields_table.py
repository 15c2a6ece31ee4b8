"""Table of the columns of a fit: what each of them is to the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sklearn_deepfm._fields.field import AnyColumn, Field
from sklearn_deepfm._fields.fields import Fields
from sklearn_deepfm._fields.index_field import UNSEEN_ROW, IndexField
from sklearn_deepfm._fields.input_columns import InputColumn
from sklearn_deepfm._fields.pooled_field import PooledField

_WIDTH = 28  # of names


def fields_table(fields: Fields, valid: Sequence[AnyColumn] | None) -> str:
    """A line for each column: its kind, distinct values, share of unknown ones, table rows.

    Parameters
    ----------
    fields : Fields
    valid : sequence of InputColumn or InputListColumn, or None
        Validation rows, in which values that no training row has are counted.
    """
    lines = [f"{'column':{_WIDTH}}  {'kind':16}{'values':>9}{'unknown':>9}{'table rows':>12}"]
    for position, field in enumerate(fields):
        unknown = "" if valid is None else _unknown(field, valid[position])
        values = f"{len(field.code_names):,}" if field.holds_codes else ""
        lines.append(
            f"{str(field.name)[:_WIDTH]:{_WIDTH}}  {field.description:16}{values:>9}{unknown:>9}"
            f"{field.n_rows:>12,}"
        )
    return "\n".join(lines)


def _unknown(field: Field, column: AnyColumn) -> str:
    """Share of cells that the model knows nothing of; nothing where cells hold no codes.

    Of pooled codes those between others are known by their neighbours.
    """
    if not isinstance(field, IndexField | PooledField) or not isinstance(column, InputColumn):
        return ""
    column = field.with_codes_of_fit(column) if column.categories is not None else column
    rows = field.encode(column)[0][_is_present(column)]
    return f"{np.mean(rows == UNSEEN_ROW):.1%}" if len(rows) else ""


def _is_present(column: InputColumn) -> np.ndarray:
    """Whether each cell is not missing."""
    if column.categories is not None:
        return column.values != -1
    if column.missing is not None:
        return ~column.missing
    return ~np.isnan(column.values)
