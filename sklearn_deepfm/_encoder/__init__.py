"""OrdinalFieldEncoder: from any table to one code per cell, without y.

Imports `_common`, `_serialization` and `_tables`.
"""
