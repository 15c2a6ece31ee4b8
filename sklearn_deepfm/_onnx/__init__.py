"""Conversion of fitted models to ONNX files: encoder, fields, network and targets as nodes.

Imports `_encoder`, `_estimators`, `_fields`, `_model`, `_tables` and `_targets`.
"""
