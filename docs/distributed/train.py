"""Train a model in all processes of torchrun, predict in all of them, and save it once.

torchrun --nproc-per-node 2 train.py flights.deepfm
"""

import sys

import numpy as np
import torch.distributed as dist
from sklearn.pipeline import make_pipeline

from sklearn_deepfm import DeepFMClassifier, OrdinalFieldEncoder, save_model
from sklearn_deepfm.datasets import load_flights


def predict_together(model, X):
    """Probabilities of all rows, in order, of which each process computes a part."""
    rank, size = dist.get_rank(), dist.get_world_size()
    parts = [None] * size
    own = X[rank * len(X) // size : (rank + 1) * len(X) // size]
    dist.all_gather_object(parts, model.predict_proba(own))
    return np.concatenate(parts)


def main(path, n_rows=None):
    X, y = load_flights(return_X_y=True)
    X, y = X[:n_rows], y[:n_rows]
    model = make_pipeline(
        OrdinalFieldEncoder(), DeepFMClassifier(distributed=True, random_state=0, verbose=1)
    )
    model.fit(X, y)  # in all processes
    proba = predict_together(model, X)
    if dist.get_rank() == 0:
        save_model(model, path)
        print(f"{proba[:, 1].mean():.1%} of the flights are expected to be late")
    return proba


if __name__ == "__main__":
    main(sys.argv[1])
