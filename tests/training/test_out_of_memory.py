"""Where memory runs out, the error says which value of which parameter would fit."""

import re
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest
import torch

from sklearn_deepfm import DeepFMClassifier, DeepFMRegressor
from sklearn_deepfm._training import out_of_memory
from sklearn_deepfm._training.out_of_memory import (
    Sizes,
    explain_out_of_memory,
    free_bytes,
    is_out_of_memory,
    memory_message,
)

SIZES = Sizes(n_features=10**6, n_fields=10, n_outputs=1, n_batch=4096)
GIB = 2**30

# The address space of the process is limited; what does not fit into it is really not there.
PROGRAM = """
import re, resource, sys
import numpy as np, torch
from sklearn_deepfm import DeepFMClassifier

torch.set_num_threads(1)
X, y = np.arange(100_000).reshape(-1, 2), np.arange(50_000) % 2
names = {'categorical_features': [0, 1]}
model = DeepFMClassifier(max_epochs=1, random_state=0, batch_size=1024, **names)
model.set_params(mlp_dims=(4,), embed_dim=8).fit(X[:2000], y[:2000])  # what torch loads late
before = model.predict_proba(X[:10])
with open("/proc/self/statm") as file:
    taken = int(file.read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (taken + 2**29, resource.RLIM_INFINITY))
try:
    model.set_params(embed_dim=2048).fit(X, y)
except MemoryError as error:
    message = str(error)
    print(message)
assert (model.predict_proba(X[:10]) == before).all()  # the fit before is still there
fitting = int(re.search("Set embed_dim=(\\\\d+), now 2048, which would fit", message)[1])
print("fits:", fitting)
model.set_params(embed_dim=fitting).fit(X, y)
"""


def test_value_that_is_named_really_fits():
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"the table of \d+ codes takes about .* GiB", result.stdout)
    assert int(re.search(r"fits: (\d+)", result.stdout)[1]) >= 32


def test_embeddings_that_fit_are_named():
    text = memory_message(DeepFMClassifier(embed_dim=1024)._parameters, "cpu", SIZES, 4 * GIB)
    assert re.search(r"the table of 1000000 codes takes about 22\.9 GiB", text)
    dim = int(re.search(r"Set embed_dim=(\d+), now 1024, which would fit", text)[1])
    assert "min_frequency or max_categories" in text
    assert "table_optimizer='adagrad'" in text
    again = memory_message(DeepFMClassifier(embed_dim=dim)._parameters, "cpu", SIZES, 4 * GIB)
    assert float(re.search(r"about ([\d.]+) GiB", again)[1]) < 4


def test_batch_that_fits_is_named_where_it_is_the_larger_part():
    sizes = replace(SIZES, n_features=100, n_batch=2**22)
    text = memory_message(DeepFMRegressor()._parameters, "cpu", sizes, GIB)
    assert re.search(r"Set batch_size=\d+, now 4194304, which would fit", text)


def test_nothing_that_fits_and_nothing_known_are_said_so():
    text = memory_message(
        DeepFMClassifier(table_optimizer="adagrad")._parameters, "cpu", SIZES, 1e6
    )
    assert "No embed_dim would fit, not even 1." in text
    assert "adagrad" not in text
    text = memory_message(DeepFMClassifier()._parameters, "cpu", SIZES, None)
    assert "Lower embed_dim, now 16." in text
    assert "free" not in text


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            True,
        ),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
    ids=str,
)
def test_errors_of_memory_are_told_from_others(error, is_it):
    assert is_out_of_memory(error) == is_it


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_error_in_a_step_is_the_advice_too(method, monkeypatch):
    from sklearn_deepfm._training.net import DeepFMNet

    def no_room(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(DeepFMNet, "train_step", no_room)
    with pytest.raises(MemoryError, match="Memory of the device 'cpu' is not enough"):
        getattr(DeepFMRegressor(device="cpu"), method)([[0], [1], [2]], [1.0, 2.0, 3.0])


def test_error_of_numpy_is_one_of_memory():
    with pytest.raises(MemoryError) as caught:
        np.empty(2**50, np.uint8)
    assert is_out_of_memory(caught.value)


def test_other_errors_stay_as_they_are(monkeypatch):
    from sklearn_deepfm._training.net import DeepFMNet

    def broken(*args, **kwargs):
        raise RuntimeError("something else")

    monkeypatch.setattr(DeepFMNet, "train_step", broken)
    with pytest.raises(RuntimeError, match="something else"):
        DeepFMRegressor().fit([[0], [1], [2]], [1.0, 2.0, 3.0])


@pytest.fixture
def gpu(monkeypatch):
    """A GPU as torch would tell of it, with 3 GiB free."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3 * GIB, 4 * GIB))


def test_device_is_the_one_that_auto_stands_for(gpu):
    parameters = DeepFMRegressor(device="auto")._parameters
    with (
        pytest.raises(MemoryError, match="the device 'cuda' is not enough.* 3 GiB are free"),
        explain_out_of_memory(parameters, lambda: SIZES, None),
    ):
        raise MemoryError


def test_device_of_a_model_that_goes_on_is_the_one_its_net_is_on(gpu):
    model = DeepFMRegressor(max_epochs=1, device="cpu").fit([[0], [1], [2]], [1.0, 2.0, 3.0])
    with (
        pytest.raises(MemoryError, match="Memory of the device 'cpu'"),
        explain_out_of_memory(
            model.set_params(device="auto")._parameters, lambda: SIZES, model.net_
        ),
    ):
        raise MemoryError


def test_size_of_the_table_of_an_earlier_fit_is_not_told(monkeypatch):
    def fail(*args):
        raise MemoryError("of the fields")

    model = DeepFMRegressor(max_epochs=1).fit([[0], [1], [2]], [1.0, 2.0, 3.0])
    monkeypatch.setattr("sklearn_deepfm._estimators.table_fit.Fields", fail)
    with pytest.raises(MemoryError, match=r"^of the fields$"):
        model.fit([[0], [1], [2]], [1.0, 2.0, 3.0])
    assert model.predict([[0]]).shape == (1,)


def test_model_that_goes_on_cannot_become_narrower():
    text = memory_message(DeepFMClassifier()._parameters, "cpu", SIZES, GIB, goes_on=True)
    assert text.endswith("A network that goes on keeps its size: fit a clone.")


def test_free_memory_is_some():
    assert free_bytes("cpu") > 2**20


def test_no_free_memory_is_a_number_too(monkeypatch):
    resource = pytest.importorskip("resource")
    sysconf = out_of_memory.os.sysconf
    monkeypatch.setattr(resource, "getrlimit", lambda of: (2**60, resource.RLIM_INFINITY))
    pages = {"SC_AVPHYS_PAGES": 0}
    monkeypatch.setattr(
        out_of_memory.os, "sysconf", lambda n: pages.get(n, sysconf("SC_PAGE_SIZE"))
    )
    assert free_bytes("cpu") == 0
    text = memory_message(DeepFMClassifier()._parameters, "cpu", SIZES, free_bytes("cpu"))
    assert re.search("and 0 bytes are free.* No embed_dim would fit", text)
    # The process may take more than a limit that was lowered since.
    monkeypatch.setattr(resource, "getrlimit", lambda of: (1, resource.RLIM_INFINITY))
    pages["SC_AVPHYS_PAGES"] = 2**20
    assert free_bytes("cpu") == 0
