"""Rules for constructor parameters, declared as a table and checked at fit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Rule:
    """What a parameter may be: a test, and the words for it in an error message."""

    accepts: Callable[[Any], bool]
    description: str

    def __or__(self, other: "Rule") -> "Rule":
        return Rule(
            lambda value: self.accepts(value) or other.accepts(value),
            f"{self.description} or {other.description}",
        )


def check_parameters(estimator: Any, rules: Mapping[str, Rule]) -> None:
    """Raise a ValueError for the first parameter that breaks its rule."""
    for name, rule in rules.items():
        value = getattr(estimator, name)
        if not rule.accepts(value):
            raise ValueError(
                f"{name} must be {rule.description}, got {value!r} "
                f"(parameter of {type(estimator).__name__})."
            )


def one_of(*options: Any) -> Rule:
    """One of some strings, NumPy's included, and constants such as None."""
    return Rule(
        lambda value: any(value is o or (isinstance(value, str) and value == o) for o in options),
        " or ".join(repr(option) for option in options),
    )


def boolean() -> Rule:
    return Rule(lambda value: isinstance(value, bool | np.bool_), "a bool")


def integer(low: int) -> Rule:
    return Rule(lambda value: _is(value, Integral) and value >= low, f"an int of at least {low}")


def real(interval: str) -> Rule:
    """A number in an interval written as in mathematics, such as "(0, 1]"."""
    low, high = (float(end) for end in interval[1:-1].split(","))

    def accepts(value: Any) -> bool:
        if not _is(value, Real) or not low <= value <= high:
            return False
        return (value > low or interval[0] == "[") and (value < high or interval[-1] == "]")

    return Rule(accepts, f"a number in {interval}")


def instance(kind: type | tuple[type, ...], description: str) -> Rule:
    return Rule(lambda value: isinstance(value, kind), description)


def sequence_of(rule: Rule, description: str) -> Rule:
    def accepts(value: Any) -> bool:
        return isinstance(value, list | tuple | np.ndarray) and all(map(rule.accepts, value))

    return Rule(accepts, description)


def dict_of(key: str, rule: Rule) -> Rule:
    """A dict whose values keep a rule; `key` says in words what its keys are."""

    def accepts(value: Any) -> bool:
        return isinstance(value, dict) and all(map(rule.accepts, value.values()))

    return Rule(accepts, f"a dict from {key} to {rule.description}")


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool | np.bool_)
