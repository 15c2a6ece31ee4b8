"""Several processes that train one model, around the training step of one.

Imports `_common`, `_model`, `_samples` and `_training`.
"""
