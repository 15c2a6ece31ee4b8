"""DeepFM for scikit-learn."""

from sklearn_deepfm._classifier import DeepFMClassifier
from sklearn_deepfm._contributions import Contributions, Importances
from sklearn_deepfm._displays import (
    FieldImportanceDisplay,
    InteractionDisplay,
    LossCurveDisplay,
)
from sklearn_deepfm._embedding_display import EmbeddingDisplay
from sklearn_deepfm._export import register_onnx_converters, to_onnx
from sklearn_deepfm._field_encoder import OrdinalFieldEncoder
from sklearn_deepfm._inspection import contributions, importances, nearest_categories
from sklearn_deepfm._module import DeepFM
from sklearn_deepfm._regressor import DeepFMRegressor
from sklearn_deepfm._saving import load_model, save_model
from sklearn_deepfm._stream_predictions import predict_to_parquet
from sklearn_deepfm._waterfall_display import WaterfallDisplay

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
