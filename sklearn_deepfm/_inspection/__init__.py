"""Why a fitted model predicts what it does: contributions, importances, nearest categories, and
pictures of them.

Imports `_estimators`, `_fields` and `_model`.
"""
