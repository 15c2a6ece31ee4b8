"""The targets that an estimator makes of y: what the network learns, and predictions from its
logits.

Imports `_serialization`.
"""
