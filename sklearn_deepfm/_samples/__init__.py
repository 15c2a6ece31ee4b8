"""Rows of data on their way to the network: weights, hold-out, tensors, batches, and a buffer on
disk.

Imports `_common`, `_fields`, `_model`, `_tables` and `_targets`.
"""
