"""Training of a module by skorch: net, optimizer, callbacks, average of the weights,
checkpoints, and undo where a fit fails.

Imports `_common`, `_fields`, `_model`, `_samples`, `_serialization` and `_targets`.
"""
