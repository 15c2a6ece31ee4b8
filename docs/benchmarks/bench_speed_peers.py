"""The contenders of bench_speed.py: each builds a DeepFM and returns its own fit and predict.

A contender is a function of a task (see bench_speed.py). It returns the torch module, a function
that trains one epoch on a matrix of codes and labels, by the library's own loop, and one that
predicts. Penalties of the peers are off. A library is imported by its contender alone.
"""

import os
import tempfile
import warnings

import numpy as np
import torch

FIELD = "f{}".format
SKEW = 1.47


def field_dims(task):
    return [task["features"] // task["fields"]] * task["fields"]


def global_codes(task, X):
    return X + np.cumsum([0, *field_dims(task)[:-1]])


def by_name(X):
    return {FIELD(j): X[:, j] for j in range(X.shape[1])}


def make_rows(task, n_rows, seed):
    """Codes by field, in no order of rank, and labels whose log-odds are a sum over the fields."""
    rng = np.random.default_rng(seed)
    size = task["features"] // task["fields"]
    X, logit = np.empty((n_rows, task["fields"]), dtype=np.int32), np.zeros(n_rows)
    for j in range(task["fields"]):
        u = rng.random(n_rows) * (1 - (size + 1) ** (1 - SKEW))
        rank = np.minimum((1 - u) ** (1 / (1 - SKEW)), size).astype(np.int64) - 1
        X[:, j] = rank * 1_000_003 % size
        logit += (rank % 3 - 1) * 2 / np.sqrt(task["fields"])
    return X, (rng.random(n_rows) < 1 / (1 + np.exp(-logit))).astype(np.float32)


def ours(task):
    """A first fit, broken off after one step, gives each code its row; later ones go on from it.

    What it takes is not timed, as the construction of the peers' tables is not.
    """
    from skorch.callbacks import Callback

    from sklearn_deepfm import DeepFMClassifier

    class Stop(Callback):
        def on_batch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    model = DeepFMClassifier(
        embed_dim=task["embed_dim"],
        mlp_dims=task["mlp"],
        batch_size=task["batch"],
        dropout=task["dropout"],
        max_epochs=1,
        early_stopping=False,
        random_state=0,
        precision=task["precision"],
        device=task["device"],
        warm_start=True,
        callbacks=[Stop()],
    )
    size = task["features"] // task["fields"]
    codes = np.arange(max(size, 2), dtype=np.int32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Training was interrupted")
        model.fit(np.tile(codes[:, None] % size, task["fields"]), codes % 2)
    model.set_params(callbacks=None)
    return model.module_, model.fit, lambda X: model.predict_proba(X)[:, 1]


def deepctr_torch(task):
    from deepctr_torch.inputs import SparseFeat
    from deepctr_torch.models import DeepFM

    dims = field_dims(task)
    columns = [SparseFeat(FIELD(j), dim, task["embed_dim"]) for j, dim in enumerate(dims)]
    model = DeepFM(
        columns,
        columns,
        dnn_hidden_units=tuple(task["mlp"]),
        l2_reg_linear=0,
        l2_reg_embedding=0,
        dnn_dropout=task["dropout"],
        dnn_use_bn=True,
        device=task["device"],
    )
    model.compile(torch.optim.Adam(model.parameters(), lr=1e-3), "binary_crossentropy")

    def fit(X, y):
        model.fit(by_name(X), y, batch_size=task["batch"], epochs=1, verbose=0)

    return model, fit, lambda X: model.predict(by_name(X), task["batch"])


def torchfm(task):
    """The loop is that of the library's examples/main.py, which the package leaves out."""
    if "long" not in vars(np):
        np.long = np.int64  # NumPy 1.24 to 1.26 lack the name, which torchfm uses
    from torchfm.model.dfm import DeepFactorizationMachineModel

    model = DeepFactorizationMachineModel(
        field_dims(task), task["embed_dim"], tuple(task["mlp"]), task["dropout"]
    ).to(task["device"])
    optimizer, criterion = torch.optim.Adam(model.parameters(), lr=1e-3), torch.nn.BCELoss()

    def loader(X, y, shuffle):
        rows = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
        return torch.utils.data.DataLoader(rows, batch_size=task["batch"], shuffle=shuffle)

    def fit(X, y):
        model.train()
        for fields, target in loader(X, y, shuffle=True):
            fields, target = fields.to(task["device"]), target.to(task["device"])
            loss = criterion(model(fields), target.float())
            model.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()

    def predict(X):
        model.eval()
        predicts = []
        with torch.no_grad():
            for fields, _ in loader(X, np.zeros(len(X)), shuffle=False):
                predicts.extend(model(fields.to(task["device"])).tolist())
        return np.array(predicts)

    return model, fit, predict


def torch_rechub(task):
    """Its first order is a linear layer over the embeddings: no table of weights."""
    from torch_rechub.basic.features import SparseFeature
    from torch_rechub.models.ranking import DeepFM
    from torch_rechub.trainers import CTRTrainer
    from torch_rechub.utils.data import DataGenerator

    columns = [
        SparseFeature(FIELD(j), d, task["embed_dim"]) for j, d in enumerate(field_dims(task))
    ]
    mlp = {"dims": list(task["mlp"]), "dropout": task["dropout"], "activation": "relu"}
    model = DeepFM(deep_features=columns, fm_features=columns, mlp_params=mlp)
    trainer = CTRTrainer(model, optimizer_params={"lr": 1e-3}, device=task["device"])

    def loaders(X, y):
        x = by_name(X)
        generator = DataGenerator(x, y)
        return generator.generate_dataloader(x, y, x, y, batch_size=task["batch"])

    def fit(X, y):
        trainer.train_one_epoch(loaders(X, y)[0])  # fit would also save the model

    def predict(X):
        return np.array(trainer.predict(model, loaders(X, np.zeros(len(X)))[2]))

    return model, fit, predict


def pytorch_widedeep(task):
    from pytorch_widedeep import Trainer
    from pytorch_widedeep.models import Wide, WideDeep
    from pytorch_widedeep.models.rec import DeepFactorizationMachine

    deep = DeepFactorizationMachine(
        column_idx={FIELD(j): j for j in range(task["fields"])},
        num_factors=task["embed_dim"],
        cat_embed_input=[(FIELD(j), dim) for j, dim in enumerate(field_dims(task))],
        mlp_hidden_dims=list(task["mlp"]),
        mlp_dropout=task["dropout"],
        mlp_batchnorm=True,
        mlp_linear_first=True,
    )
    model = WideDeep(wide=Wide(sum(field_dims(task))), deeptabular=deep)
    trainer = Trainer(
        model,
        objective="binary",
        optimizers=torch.optim.Adam(model.parameters(), lr=1e-3),
        verbose=0,
        num_workers=0,
        device=task["device"],
    )

    def codes(X):
        X = global_codes(task, X) + 1  # 0 is kept for the unseen
        return {"X_wide": X, "X_tab": X}

    def fit(X, y):
        trainer.fit(**codes(X), target=y, n_epochs=1, batch_size=task["batch"], shuffle=True)

    return model, fit, lambda X: trainer.predict_proba(**codes(X))[:, 1]


def fuxictr(task):
    """DeepFM of the library's layers, as in its model_zoo/DeepFM, which the package leaves out."""
    from fuxictr.features import FeatureMap
    from fuxictr.pytorch.dataloaders import RankDataLoader
    from fuxictr.pytorch.layers import FactorizationMachine, FeatureEmbedding, MLP_Block
    from fuxictr.pytorch.models import BaseModel

    class DeepFM(BaseModel):
        def __init__(self, feature_map, **kwargs):
            super().__init__(feature_map, **kwargs)
            self.embedding_layer = FeatureEmbedding(feature_map, task["embed_dim"])
            self.fm = FactorizationMachine(feature_map)
            self.mlp = MLP_Block(
                input_dim=feature_map.sum_emb_out_dim(),
                output_dim=1,
                hidden_units=list(task["mlp"]),
                dropout_rates=task["dropout"],
                batch_norm=True,
            )
            self.compile("adam", "binary_crossentropy", 1e-3)
            self.reset_parameters()
            self.model_to_device()

        def forward(self, inputs):
            X = self.get_inputs(inputs)
            embedding = self.embedding_layer(X)
            logit = self.fm(X, embedding) + self.mlp(embedding.flatten(start_dim=1))
            return {"y_pred": self.output_activation(logit)}

        def load_weights(self, checkpoint):
            """Without validation there are none to go back to."""

    features = FeatureMap("bench", tempfile.gettempdir())
    features.default_emb_dim, features.labels = task["embed_dim"], ["label"]
    for j, dim in enumerate(field_dims(task)):
        features.features[FIELD(j)] = {"type": "categorical", "source": "", "vocab_size": dim}
    features.num_fields = features.get_num_fields()
    features.set_column_index()
    options = {"metrics": ["AUC"], "verbose": 0, "model_root": tempfile.gettempdir()}
    gpu = 0 if task["device"].startswith("cuda") else -1
    model = DeepFM(features, gpu=gpu, eval_steps=10**9, **options)

    def load(X, y, stage):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "rows.npz")
            np.savez(path, label=y.astype(X.dtype), **by_name(X))
            data = {f"{stage}_data": path, "num_workers": 0}
            return RankDataLoader(features, stage, batch_size=task["batch"], **data)

    def fit(X, y):
        model.fit(load(X, y, "train")[0], epochs=1)

    return model, fit, lambda X: model.predict(load(X, np.zeros(len(X)), "test"))


def skorch(task):
    """Plain skorch: its DataLoader and dense Adam around this project's torch module."""
    from skorch import NeuralNetBinaryClassifier

    from sklearn_deepfm import DeepFM

    net = NeuralNetBinaryClassifier(
        DeepFM,
        module__n_fields=task["fields"],
        module__n_features=sum(field_dims(task)),
        module__embed_dim=task["embed_dim"],
        module__mlp_dims=tuple(task["mlp"]),
        module__dropout=task["dropout"],
        optimizer=torch.optim.Adam,
        lr=1e-3,
        batch_size=task["batch"],
        max_epochs=1,
        iterator_train__shuffle=True,
        train_split=None,
        device=task["device"],
        verbose=0,
    ).initialize()

    def fit(X, y):
        net.partial_fit(global_codes(task, X), y)

    return net.module_, fit, lambda X: net.predict_proba(global_codes(task, X))[:, 1]
