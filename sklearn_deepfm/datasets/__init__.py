"""A data set to learn with, loaded as scikit-learn's ``load_*`` functions do."""

from sklearn_deepfm.datasets._flights import load_flights

__all__ = ["load_flights"]
