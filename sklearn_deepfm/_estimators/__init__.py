"""DeepFMClassifier and DeepFMRegressor: parameters, fits to tables and to streams, predictions.

Imports `_common`, `_distributed`, `_encoder`, `_fields`, `_model`, `_samples`, `_serialization`,
`_tables`, `_targets` and `_training`.
"""
