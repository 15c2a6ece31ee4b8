"""State of an estimator for pickles and files: plain data in a numbered format."""

from __future__ import annotations

from typing import Self

from sklearn_deepfm._fields.fields import Fields
from sklearn_deepfm._serialization.plain import check_names, unwrap_state, wrap_state
from sklearn_deepfm._serialization.plain_values import PlainData, expect, saying_damaged
from sklearn_deepfm._targets.target_kinds import target_of_plain, target_to_plain
from sklearn_deepfm._training.net import DeepFMNet
from sklearn_deepfm._training.net_state import net_of_plain, net_to_plain

# Attributes that are set by fit, and kept as plain data.
LEARNED = "_target", "_fields", "_is_index", "_structure", "_split_seed", "_n_seen", "net_"


class EstimatorState:
    """Pickling of the estimators: parameters as they are, everything learned as plain data."""

    _net_class: type[DeepFMNet]

    def __copy__(self) -> Self:
        # By default copy.copy goes by __getstate__, and would build a second net.
        new = type(self).__new__(type(self))
        new.__dict__.update(self.__dict__)
        return new

    def __getstate__(self) -> dict[str, PlainData]:
        state = dict(self.__dict__)
        if "net_" not in state:
            return wrap_state(state, None)
        learned = {name: state.pop(name) for name in LEARNED}
        return wrap_state(
            state,
            {
                "target": target_to_plain(learned["_target"]),
                "fields": learned["_fields"].to_plain(),
                "is_index": [bool(flag) for flag in learned["_is_index"]],
                "structure": learned["_structure"],
                "split_seed": learned["_split_seed"],
                "n_seen": learned["_n_seen"],
                "net": net_to_plain(learned["net_"]),
            },
        )

    def __setstate__(self, state: dict[str, PlainData]) -> None:
        with saying_damaged(f"This {type(self).__name__}"):
            self._load_state(state)

    def _load_state(self, state: dict[str, PlainData]) -> None:
        """Take a state; any error says that it is damaged."""
        attributes, learned = unwrap_state(self, state)
        self.__dict__.update(attributes)
        if learned is None:
            return
        self._target = target_of_plain(learned["target"])
        self._fields = Fields.of_plain(learned["fields"])
        check_names(attributes, len(self._fields))
        self._is_index = learned["is_index"]
        expect(len(self._is_index) == len(self._fields), "is_index")
        expect(all(isinstance(flag, bool) for flag in self._is_index), "is_index")
        self._structure = learned["structure"]
        expect(isinstance(self._structure, dict), "structure")
        self._split_seed, self._n_seen = learned["split_seed"], learned["n_seen"]
        for name in ("split_seed", "n_seen"):
            expect(isinstance(learned[name], int) and learned[name] >= 0, name)
        # Last, since its sizes are checked against target and fields.
        self.net_ = net_of_plain(learned["net"], self._net_class, self._fields, self._target)
