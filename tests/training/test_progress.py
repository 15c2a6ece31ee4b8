"""Progress of a fit: how much there is to do in all."""

from types import SimpleNamespace

import pytest

from sklearn_deepfm._samples.disk_buffer import DiskBuffer
from sklearn_deepfm._training.progress import EpochBar


@pytest.mark.parametrize("rows_of_processes", [[100], [100, 250], [100, 0, 7]])
def test_bar_counts_the_batches_of_all_shards(rows_of_processes, capsys):
    net = SimpleNamespace(batch_size=32, max_epochs=3, history=[{"train_loss": 1.0}])
    bar = EpochBar()
    with DiskBuffer("cpu") as buffer:
        buffer.rows_of_processes, buffer._n_rows = rows_of_processes, rows_of_processes[0]
        bar.on_train_begin(net)
        bar.on_epoch_begin(net, dataset_train=buffer)
        for _ in range(len(buffer.batches(net.batch_size)) * net.max_epochs):
            bar.on_batch_end(net, training=True)
        assert bar._bar.n == bar._bar.total
        bar.on_train_end(net)
