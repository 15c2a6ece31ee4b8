"""The fields that an estimator makes of the columns of X, and their codes as rows of one
embedding table.

Imports `_common`, `_serialization` and `_tables`.
"""
