"""What encoder, fields, network and targets become in an ONNX file.

Imports `_encoder`, `_estimators`, `_fields`, `_model`, `_tables` and `_targets`.
"""
