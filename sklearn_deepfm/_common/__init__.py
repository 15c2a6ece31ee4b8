"""Small tools that any room may use: rules for parameters, lookups of integers, quantiles,
fingerprints, warnings, and the support of scikit-learn's callbacks.

Imports no other room.
"""
