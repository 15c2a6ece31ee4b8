"""Rules for constructor parameters, declared as a table and checked at fit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Rule:
    """Rule for a parameter: a test of its value, and the description for the error message.

    `is_structural` marks a parameter that shapes the network: it must not change while training
    continues with the same network.
    """

    accepts: Callable[[Any], bool]
    description: str
    is_structural: bool = False

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


def structural(rule: Rule) -> Rule:
    """The same rule, for a parameter that shapes the network."""
    return replace(rule, is_structural=True)


def anything() -> Rule:
    """Accept any value: the parameter is checked later, when the columns are known."""
    return Rule(lambda value: True, "anything")


def one_of(*options: Any) -> Rule:
    """One of some strings, NumPy's included, and constants such as None."""
    return Rule(
        # Constants are compared by identity: `==` with an array gives an array.
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
        if not _is(value, Real):
            return False
        # As Python's number: the end of the interval may be no float of the value's precision.
        value = int(value) if isinstance(value, Integral) else float(value)
        if not low <= value <= high:
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
    """A dict whose values keep a rule; `key` describes its keys in the message."""

    def accepts(value: Any) -> bool:
        return isinstance(value, dict) and all(map(rule.accepts, value.values()))

    return Rule(accepts, f"a dict from {key} to {rule.description}")


def _is(value: Any, kind: type) -> bool:
    # Python's bool is an Integral too.
    return isinstance(value, kind) and not isinstance(value, bool | np.bool_)
