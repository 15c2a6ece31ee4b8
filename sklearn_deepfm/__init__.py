"""DeepFM for scikit-learn."""

from sklearn_deepfm._encoder.encoder import OrdinalFieldEncoder
from sklearn_deepfm._estimators.classifier import DeepFMClassifier
from sklearn_deepfm._estimators.predict_to_parquet import predict_to_parquet
from sklearn_deepfm._estimators.regressor import DeepFMRegressor
from sklearn_deepfm._inspection.displays import (
    FieldImportanceDisplay,
    InteractionDisplay,
    LossCurveDisplay,
)
from sklearn_deepfm._inspection.embedding_display import EmbeddingDisplay
from sklearn_deepfm._inspection.explain import contributions, importances, nearest_categories
from sklearn_deepfm._inspection.results import Contributions, Importances
from sklearn_deepfm._inspection.waterfall_display import WaterfallDisplay
from sklearn_deepfm._model.deepfm import DeepFM
from sklearn_deepfm._onnx.export import register_onnx_converters, to_onnx
from sklearn_deepfm._persistence import load_model, save_model

__version__ = "0.1.0.dev0"

__all__ = [
    "Contributions",
    "DeepFM",
    "DeepFMClassifier",
    "DeepFMRegressor",
    "EmbeddingDisplay",
    "FieldImportanceDisplay",
    "Importances",
    "InteractionDisplay",
    "LossCurveDisplay",
    "OrdinalFieldEncoder",
    "WaterfallDisplay",
    "contributions",
    "importances",
    "load_model",
    "nearest_categories",
    "predict_to_parquet",
    "register_onnx_converters",
    "save_model",
    "to_onnx",
]

# Pickles, skops files and lists of trusted types name a class by its module: where its file stands
# inside this package must not be written into them.
for _name in __all__:
    globals()[_name].__module__ = __name__
del _name
