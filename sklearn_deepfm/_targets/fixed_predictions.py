"""Estimators with fixed logits, so that scikit-learn's scorers can score validation rows."""

from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin


class _FixedPredictions(BaseEstimator):
    """A fitted estimator that predicts from given logits, for the one X that they belong to."""

    def __init__(self, target, logits, X):
        self.target = target
        self.logits = logits
        self.X = X

    def __sklearn_is_fitted__(self):
        return True

    def predict(self, X):
        return self.target.predict(self._logits_of(X))

    def _logits_of(self, X):
        if X is not self.X:
            raise ValueError(
                "The estimator that a callable `scoring` gets answers for all validation rows at "
                f"once, the very X that it gets too, got another {type(X).__name__}. Call it with "
                "that X, and select from what it returns."
            )
        return self.logits


class FixedClassifier(ClassifierMixin, _FixedPredictions):
    @property
    def classes_(self):
        return self.target.classes

    def predict_proba(self, X):
        return self.target.proba(self._logits_of(X))

    def decision_function(self, X):
        return self.target.decision(self._logits_of(X))


class FixedRegressor(RegressorMixin, _FixedPredictions):
    pass
