"""Models in other processes and threads, interrupted at any moment, and what many of them leave."""

import _thread
import copy
import gc
import multiprocessing
import os
import signal
import threading
import time
import warnings

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 20, (400, 3))
    return X, (X.sum(axis=1) > 28).astype(int)


def answers_of(model, X, y, results):
    """Of the model as it came, and fitted again."""
    results.put([model.predict_proba(X), model.fit(X, y).predict_proba(X)])


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_another_process_gets_the_same(method, data):
    X, y = data
    model = DeepFMClassifier(max_epochs=3, random_state=0).fit(X, y)
    context = multiprocessing.get_context(method)
    results = context.Queue()
    process = context.Process(target=answers_of, args=(model, X, y, results))
    process.start()
    found = results.get(timeout=120)
    process.join()
    for answers in found:
        np.testing.assert_allclose(answers, model.predict_proba(X), atol=1e-6)


def forks():
    torch.set_num_threads(1)
    X, y = np.arange(600).reshape(-1, 2) % 7, np.arange(300) % 2
    encoder = OrdinalFieldEncoder().fit(X)
    model = DeepFMClassifier(max_epochs=2, random_state=0).fit(encoder.transform(X), y)
    expected = model.predict_proba(encoder.transform(X))
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            same = (model.predict_proba(encoder.transform(X)) == expected).all()
            again = model.fit(encoder.transform(X), y).predict_proba(encoder.transform(X))
            os._exit(0 if same and (again == expected).all() else 1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert (model.predict_proba(encoder.transform(X)) == expected).all()


def test_forked_processes_predict_and_fit():
    """In a process of its own, whose threads nobody else has started."""
    process = multiprocessing.get_context("forkserver").Process(target=forks)
    process.start()
    process.join(timeout=300)
    assert process.exitcode == 0


def test_fits_in_threads_are_those_of_one(data):
    X, y = data
    found = [None] * 4

    def fit(seed):
        model = DeepFMClassifier(max_epochs=3, random_state=seed)
        found[seed] = model.fit(X, y).predict_proba(X)

    threads = [threading.Thread(target=fit, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(4):
        alone = DeepFMClassifier(max_epochs=3, random_state=seed).fit(X, y)
        np.testing.assert_array_equal(found[seed], alone.predict_proba(X))


class Interrupt(Callback):
    """Ctrl-C amid the third epoch."""

    def on_batch_end(self, net, *, training, **kwargs):
        if training and net.history[-1]["epoch"] == 3:
            _thread.interrupt_main()


@pytest.mark.parametrize("sparse_updates", [False, True])
def test_interrupt_in_an_epoch_leaves_a_usable_model(data, sparse_updates):
    X, y = data
    model = DeepFMClassifier(sparse_updates=sparse_updates, callbacks=[Interrupt()])
    with pytest.warns(UserWarning, match="interrupted after 2 full epochs"):
        model.fit(X, y)
    assert np.isfinite(model.predict_proba(X)).all()


@pytest.mark.parametrize("sparse_updates", [False, True])
def test_interrupt_at_any_moment_leaves_a_model_as_it_was_or_a_usable_one(data, sparse_updates):
    """Ctrl-C after ever longer times: before training, in it, and at its end."""
    X, y = data
    params = {"max_epochs": 6, "sparse_updates": sparse_updates}
    first = DeepFMClassifier(random_state=0, **params).fit(X, y)
    start = time.monotonic()
    second = DeepFMClassifier(random_state=1, **params).fit(X, y)
    seconds = time.monotonic() - start
    for share in np.linspace(0, 1, 12):
        model = copy.copy(first).set_params(random_state=1)
        timer = threading.Timer(share * seconds, _thread.interrupt_main)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                timer.start()
                model.fit(X, y)
                timer.join()
                time.sleep(0.01)
            except KeyboardInterrupt:
                timer.join()
        proba = model.predict_proba(X)
        assert np.isfinite(proba).all()
        if not caught:
            wholes = [whole.predict_proba(X) for whole in (first, second)]
            assert any((proba == whole).all() for whole in wholes)
        assert 0 <= model.n_iter_ <= 6


def test_many_fits_and_predictions_leave_nothing_behind(data):
    X, y = data

    def objects():
        gc.collect()
        return sum(
            issubclass(type(thing), torch.Tensor)
            or str(type(thing).__module__).startswith(("sklearn_deepfm", "skorch"))
            for thing in gc.get_objects()
        )

    def work(n):
        for i in range(n):
            model = DeepFMClassifier(max_epochs=1, n_members=1 + i % 2, sparse_updates=i % 3 == 0)
            model.fit(X, y)
            for _ in range(20):
                model.predict_proba(X[:1])

    work(3)
    before = objects()
    work(12)
    assert objects() <= before + 2


def test_signal_handlers_are_left_alone(data):
    numbers = signal.SIGINT, signal.SIGTERM
    handlers = [signal.getsignal(number) for number in numbers]
    DeepFMClassifier(max_epochs=1).fit(*data)
    assert [signal.getsignal(number) for number in numbers] == handlers
