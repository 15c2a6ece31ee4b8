"""The files of a data set: one type for each column, whatever its type in each of them."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from sklearn_deepfm._tables.arrow import kind_and_type

if TYPE_CHECKING:  # at runtime it is the user who imports this part of Arrow
    from pyarrow.dataset import Dataset, Fragment

_REMEDY = "pyarrow.dataset.dataset(files, schema=...)"


class Files:
    """The files of a data set that differ in their columns.

    Parameters
    ----------
    dataset : pyarrow.dataset.Dataset
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._fragments = _fragments(dataset)
        # The first file with each schema, in the order of the files.
        self._paths: dict[pa.Schema, str] = {}
        if len(self._fragments) > 1:
            for fragment in self._fragments:
                schema = fragment.physical_schema.remove_metadata()
                self._paths.setdefault(schema, fragment.path)

    def unified(self, wanted: Collection[str]) -> Dataset:
        """The data set with types that hold the values of all files.

        Parameters
        ----------
        wanted : collection of str
            The columns to be read. One that only later files have is added.

        Raises
        ------
        ValueError
            If one of these holds values of different kinds.
        """
        if len(self._paths) < 2:
            return self._dataset
        schema: pa.Schema = self._dataset.schema
        fields = [field.with_type(self._type_of(field, wanted)) for field in schema]
        later = [
            pa.field(name, found[0][0])
            for name in wanted
            if name not in schema.names and (found := self._types(name))
        ]
        fields += [field.with_type(self._type_of(field, wanted)) for field in later]
        return self._with_schema(pa.schema(fields, schema.metadata))

    def later_columns(self) -> list[str]:
        """Columns that the data set lacks because its first file, which made its schema, does."""
        names = self._dataset.schema.names
        schemas = [*self._paths]
        if not schemas or not set(schemas[0].names) <= set(names):
            return []  # the user chose these columns
        found = dict.fromkeys(name for schema in schemas for name in schema.names)
        return [name for name in found if name not in names]

    def _types(self, name: str) -> list[tuple[pa.DataType, str]]:
        """The types of a column, each with the first file that has it so."""
        found: dict[pa.DataType, str] = {}
        for schema, path in self._paths.items():
            if (position := schema.get_field_index(name)) >= 0:
                found.setdefault(schema.field(position).type, path)
        return [*found.items()]

    def _type_of(self, field: pa.Field, wanted: Collection[str]) -> pa.DataType:
        found = self._types(field.name)
        # A type other than that of the first file was chosen by the user.
        if len(found) < 2 or found[0][0] != field.type:
            return field.type
        types = [type_ for type_, _ in found]
        if (merged := _merged(types)) is not None:
            return merged
        try:
            kinds = dict(kind_and_type(field.name, type_) for type_ in types)
        except TypeError:  # of no kind that a field can have
            return field.type
        kinds.pop("", None)
        if len(kinds) == 1:
            return next(iter(kinds.values()))
        if next(iter(kinds)) == "strings":  # all else can be read as strings
            return kinds["strings"]
        if field.name not in wanted:
            return field.type
        raise ValueError(_message_of_kinds(field.name, found))

    def _with_schema(self, schema: pa.Schema) -> Dataset:
        if schema.equals(self._dataset.schema):
            return self._dataset
        try:
            return self._dataset.replace_schema(schema)  # which keeps a filter
        except pa.ArrowTypeError:  # it takes other types in the place of null alone
            pass
        if not hasattr(self._dataset, "files") or _is_filtered(self._dataset):
            # All other columns are read as they are: `naming_the_column` tells what does not fit.
            own = {f.name: f for f in self._dataset.schema if not pa.types.is_null(f.type)}
            fields = [own.get(field.name, field) for field in schema]
            return self._dataset.replace_schema(pa.schema(fields, schema.metadata))
        first = self._fragments[0]
        return type(self._dataset)(self._fragments, schema, first.format, first.filesystem)


@contextlib.contextmanager
def naming_the_column(dataset: Dataset) -> Iterator[None]:
    """Where Arrow refuses to read a column in the type of the data set, name column and file.

    Raises
    ------
    ValueError
        In the place of Arrow's error.
    """
    try:
        yield
    except pa.ArrowException as error:
        for fragment in _fragments(dataset):
            if (column := _column_that_fails(fragment, dataset.schema)) is not None:
                name, type_, reason = column
                raise ValueError(
                    f"Column {name!r} is {dataset.schema.field(name).type} in the data set, and "
                    f"{type_} in {fragment.path}: {reason}. Give the data set a type that holds "
                    f"both, before any filter, by {_REMEDY}, or write the file anew."
                ) from error
        raise


def _column_that_fails(
    fragment: Fragment, schema: pa.Schema
) -> tuple[str, pa.DataType, str] | None:
    """The first column that cannot be read in its type of the schema, with its own and why."""
    own = fragment.physical_schema
    for name in schema.names:
        position = own.get_field_index(name)
        if position < 0 or own.field(position).type == schema.field(name).type:
            continue
        try:
            for _ in fragment.to_batches(schema=schema, columns=[name]):
                pass
        except pa.ArrowException as error:
            return name, own.field(position).type, str(error)
    return None


def _fragments(dataset: Dataset) -> list[Fragment]:
    """The files of a data set, with or without a filter; none of one in memory."""
    if hasattr(dataset, "children"):
        return [fragment for child in dataset.children for fragment in _fragments(child)]
    if not hasattr(dataset, "files"):
        return []
    if not _is_filtered(dataset):
        return [*dataset.get_fragments()]  # these remember what they have read of their files
    return [dataset.format.make_fragment(path, dataset.filesystem) for path in dataset.files]


def _is_filtered(dataset: Dataset) -> bool:
    """Whether a data set has a filter: it gives no files then."""
    try:
        dataset.get_fragments()
    except ValueError:
        return True
    return False


def _merged(types: Sequence[pa.DataType]) -> pa.DataType | None:
    """The type that Arrow finds for values of several; None if it has none."""
    is_encoded = [pa.types.is_dictionary(type_) for type_ in types]
    if any(is_encoded) and not all(is_encoded):
        types = [t.value_type if pa.types.is_dictionary(t) else t for t in types]
    schemas = [pa.schema([("column", type_)]) for type_ in types]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive").field("column").type
    except pa.ArrowException:
        return None


def _message_of_kinds(name: str, found: Sequence[tuple[pa.DataType, str]]) -> str:
    where = " and ".join(f"{type_} in {path}" for type_, path in found)
    return (
        f"Column {name!r} must hold values of one kind in all files, and is {where}. Write the "
        f"files anew with one type, or have it read as strings by a schema, {_REMEDY}."
    )
