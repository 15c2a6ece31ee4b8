"""Every kind of field and of target says what it becomes in an ONNX file."""

import pytest

pytest.importorskip("skl2onnx")

from sklearn_deepfm._encoder.field_types import FIELD_KINDS
from sklearn_deepfm._fields.fields import KINDS
from sklearn_deepfm._onnx.encoder import encode_cells
from sklearn_deepfm._onnx.fields import add_field
from sklearn_deepfm._onnx.targets import add_outputs, declare_outputs
from sklearn_deepfm._targets.target_kinds import TARGETS


class Stranger:
    """A kind that nobody has registered."""


@pytest.mark.parametrize(
    ("function", "kinds"),
    [
        (add_field, KINDS),
        (encode_cells, FIELD_KINDS.values()),
        (declare_outputs, TARGETS.values()),
        (add_outputs, TARGETS.values()),
    ],
)
def test_every_kind_is_registered(function, kinds):
    of_others = function.dispatch(Stranger)
    assert all(function.dispatch(kind) is not of_others for kind in kinds)


@pytest.mark.parametrize(
    ("function", "n_others"),
    [(add_field, 4), (encode_cells, 2), (declare_outputs, 1), (add_outputs, 3)],
)
def test_kind_that_nobody_has_registered_is_refused(function, n_others):
    with pytest.raises(NotImplementedError, match="of type Stranger"):
        function(Stranger(), *[None] * n_others)
