"""Parameters that the estimators share, and the names that messages give."""

import inspect

import pytest

from sklearn_deepfm import DeepFMClassifier, DeepFMRegressor


class Mine(DeepFMRegressor):
    """A subclass of a user."""


class WithParameter(DeepFMRegressor):
    """A subclass with a parameter of its own."""

    def __init__(self, *, extra=1, embed_dim=2):
        super().__init__(embed_dim=embed_dim)
        self.extra = extra


@pytest.mark.parametrize("cls", [DeepFMClassifier, DeepFMRegressor, Mine, WithParameter])
def test_parameter_that_does_not_exist_is_told_with_the_class_of_the_user(cls):
    with pytest.raises(TypeError, match=rf"^{cls.__name__}\.__init__\(\) got .*'link'"):
        cls(link="log")


def test_subclasses_have_the_parameters_and_defaults():
    signature = inspect.signature(DeepFMRegressor)
    assert inspect.signature(Mine) == signature
    assert Mine(embed_dim=3).get_params() == {**DeepFMRegressor().get_params(), "embed_dim": 3}
    assert WithParameter(extra=5).get_params() == {"embed_dim": 2, "extra": 5}
