"""State of an encoder in pickles and all other files: a numbered format of plain data."""

from __future__ import annotations

from collections.abc import Callable

from sklearn_deepfm._encoder.column_specs import ColumnSpec
from sklearn_deepfm._encoder.field_types import field_of_plain, field_to_plain
from sklearn_deepfm._serialization.plain import check_names, unwrap_state, wrap_state
from sklearn_deepfm._serialization.plain_values import PlainData, expect, saying_damaged


class EncoderState:
    """Pickling of an encoder: parameters as they are, everything learned as plain data."""

    n_features_in_: int
    _remember: Callable[[list, int], None]

    def __getstate__(self) -> dict[str, PlainData]:
        state = dict(self.__dict__)
        if "_fields" not in state:
            return wrap_state(state, None)
        specs, fields = state.pop("_column_specs"), state.pop("_fields")
        del state["field_kinds_"], state["field_dims_"]  # follow from the fields
        learned = {
            # Column specs, by the name that the format has for them.
            "roles": [spec.to_plain() for spec in specs],
            "fields": [field_to_plain(field) for field in fields],
            "n_samples_seen": int(state.pop("n_samples_seen_")),
        }
        return wrap_state(state, learned)

    def __setstate__(self, state: dict[str, PlainData]) -> None:
        with saying_damaged(f"This {type(self).__name__}"):
            self._load_state(state)

    def _load_state(self, state: dict[str, PlainData]) -> None:
        """Take a state; any error says that it is damaged."""
        attributes, learned = unwrap_state(self, state)
        self.__dict__.update(attributes)
        if learned is not None:
            self._column_specs = [ColumnSpec.of_plain(spec) for spec in learned["roles"]]
            fields = [field_of_plain(field) for field in learned["fields"]]
            positions = [spec.position for spec in self._column_specs]
            positions += [spec.weights for spec in self._column_specs if spec.weights is not None]
            check_names(attributes, len(positions))
            expect(sorted(positions) == list(range(len(positions))), "roles")
            expect(len(fields) == len(self._column_specs), "roles")
            n_samples_seen = learned["n_samples_seen"]
            expect(type(n_samples_seen) is int and n_samples_seen > 0, "n_samples_seen")
            self._remember(fields, n_samples_seen)
