"""Wrong inputs, and the message that each gets, as docs/user_guide/messages.rst shows them.

``python tests/test_messages.py`` writes that page.
"""

import re
import textwrap
import traceback
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sklearn_deepfm
from sklearn_deepfm import DeepFMClassifier, DeepFMRegressor, OrdinalFieldEncoder

PAGE = Path(__file__).parents[1] / "docs" / "user_guide" / "messages.rst"

INTRODUCTION = """\
Error messages
==============

A message says which parameter or column is concerned, what is required, what came, and what to
do. A call that is refused leaves encoder and estimator as they were. These are written by the
tests, from what they raise; `df` is a data frame of strings and numbers, `codes` a matrix that an
encoder made of one, `y` their labels, and `encoder`, `model` and `pipeline` are fitted.
"""

# What is wrong, the call, and words that its message must have.
PARAMETERS = [
    ("DeepFMRegressor(link='log')", r"DeepFMRegressor\.__init__.*'link'"),
    ("DeepFMClassifier(embed_dim=0).fit(codes, y)", "embed_dim .*at least 1"),
    ("DeepFMClassifier(embed_dim=8.0).fit(codes, y)", "embed_dim .*got 8.0"),
    ("DeepFMClassifier(mlp_dims=128).fit(codes, y)", "mlp_dims .*got 128"),
    ("DeepFMClassifier(dropout=1.0).fit(codes, y)", "dropout"),
    ("DeepFMClassifier(components=['fm', 'dnn']).fit(codes, y)", "components"),
    ("DeepFMClassifier(learning_rate=0).fit(codes, y)", "learning_rate"),
    ("DeepFMClassifier(batch_size='large').fit(codes, y)", "batch_size"),
    ("DeepFMClassifier(embedding_l2=1e308).fit(codes, y)", "embedding_l2 .*1e30"),
    ("DeepFMClassifier(scoring='auc').fit(codes, y)", "auc"),
    ("DeepFMClassifier(scoring='roc_auc').fit(codes, np.arange(200) < 1)", "nan .* all of class"),
    ("DeepFMClassifier(scoring=auc_by_user).fit(codes, y)", "auc_by_user takes groups"),
    (
        "DeepFMClassifier(scoring=auc_of_half, early_stopping=True).fit(codes, y)",
        "all validation rows at once",
    ),
    ("DeepFMClassifier(class_weight={'maybe': 2}).fit(codes, y)", "class_weight .*maybe"),
    ("DeepFMClassifier(n_members=0).fit(codes, y)", "n_members"),
    ("DeepFMClassifier(device='gpu').fit(codes, y)", "device"),
    ("DeepFMClassifier(distributed=True).fit(codes, y)", "torchrun"),
    ("DeepFMClassifier(categorical_features=['shop']).fit(df_codes, y)", "shop"),
    ("DeepFMClassifier(validation_split=3).fit(codes, y)", "validation_split"),
    ("DeepFMClassifier(random_state=2**32).fit(codes, y)", "random_state .*got 4294967296"),
    ("DeepFMClassifier(frozen=['city']).fit(df_codes, y)", "frozen .*city"),
    ("OrdinalFieldEncoder(min_frequency=0).fit(df)", "min_frequency"),
    ("OrdinalFieldEncoder(n_bins=1).fit(df)", "n_bins"),
    ("OrdinalFieldEncoder(categorical_features=['shop']).fit(df)", "shop"),
    ("OrdinalFieldEncoder(numeric_features=['city']).fit(df)", "city"),
    ("OrdinalFieldEncoder(hash_dims={'price': 100}).fit(df)", "price"),
    ("OrdinalFieldEncoder(separators={'price': '|'}).fit(df)", "price"),
    ("OrdinalFieldEncoder(member_weights={'city': 'city'}).fit(df)", "member_weights"),
]
TABLES = [
    ("DeepFMClassifier().fit(df, y)", "OrdinalFieldEncoder"),
    ("DeepFMClassifier().fit([['Rome'], ['Oslo']], [0, 1])", "OrdinalFieldEncoder"),
    ("DeepFMClassifier().fit(df_codes.assign(price=np.inf), y)", "price.* infinity"),
    ("DeepFMClassifier().fit(df_codes.assign(day=dates), y)", "day.*OrdinalFieldEncoder"),
    ("DeepFMClassifier().fit(codes[:0], y[:0])", "0 sample"),
    ("OrdinalFieldEncoder().fit(df.assign(mixed=[1, 'one'] * 100))", "mixed.* int.* str"),
    ("OrdinalFieldEncoder().fit(df.assign(cell=[{}] * 200))", "cell"),
    ("OrdinalFieldEncoder().fit(df.assign(price=np.inf))", "price"),
    ("OrdinalFieldEncoder().fit(df.set_axis(['a', 'a', 'b'], axis=1))", "unique"),
    ("OrdinalFieldEncoder().fit(sparse)", "raw columns, got a sparse csr_array"),
    ("DeepFMClassifier().fit(pd.get_dummies(df['city'], sparse=True), y)", "Bonn.* is sparse"),
    ("OrdinalFieldEncoder().fit('train.parquet')", "the path 'train.parquet'"),
    ("OrdinalFieldEncoder().fit(['may.parquet', 'june.parquet'])", "list .* 'may.parquet'"),
    ("OrdinalFieldEncoder().fit(df.assign(user=2**64))", "user.* beyond 64 bits"),
    ("OrdinalFieldEncoder().fit(df.assign(day=[dates, zoned] * 100))", "day.* with a time zone"),
    ("OrdinalFieldEncoder().fit(df[:0])", "0 rows"),
    ("OrdinalFieldEncoder().fit(df.to_dict('records'))", "list: .*pandas.DataFrame"),
    ("OrdinalFieldEncoder().fit(df.to_records())", "recarray: .*pandas.DataFrame"),
    ("OrdinalFieldEncoder().fit([1, 2, 3])", "1D|two-dimensional|2D"),
    ("OrdinalFieldEncoder().fit(np.ma.masked_equal(codes, 2))", "X must have no masked cells"),
]
TARGETS = [
    ("DeepFMClassifier().fit(codes, None)", "y to be passed"),
    ("DeepFMClassifier().fit(codes, np.ones(200))", "2 classes"),
    ("DeepFMClassifier().fit(codes, np.where(y == 1, np.nan, 0))", "y contains NaN"),
    ("DeepFMClassifier().fit(codes, np.linspace(0, 1, 200))", "label type|continuous"),
    ("DeepFMClassifier().fit(codes, np.column_stack([y, 2 * y]))", "0 and 1"),
    ("DeepFMClassifier().fit(codes, y, sample_weight=-y)", "sample_weight"),
    ("DeepFMClassifier().fit(codes, y, X_val=codes)", "X_val needs y_val"),
    ("DeepFMClassifier().partial_fit(codes, y)", "classes"),
    ("model.partial_fit(codes, y + 1)", "none of the classes"),
    ("model.partial_fit(codes, y, classes=[0, 1, 2])", "classes .*same"),
    ("DeepFMRegressor().fit(codes, np.array(['a'] * 200))", "y must hold numbers"),
]
LATER = [
    ("DeepFMClassifier().predict(codes)", "not fitted"),
    ("model.predict(codes[:, :2])", "2 features.* expecting 3"),
    ("by_name.predict(df_codes.rename(columns={'city': 'town'}))", "city"),
    ("by_name.predict(df_codes.assign(city=0.5 + df_codes['city']).astype({'city': str}))", "city"),
    ("encoder.transform(df.assign(price=df['city']))", "price.*numbers.* strings"),
    ("encoder.transform(df.assign(city=1.5))", "city.*strings.* numbers"),
    ("encoder.transform(df.drop(columns='city'))", "city"),
    ("by_number.predict(numbered[[20, 10, 30]])", "number 0 is 20, where fit saw 10"),
    ("encoder.inverse_transform([[99, 2, 2]])", "99.*from 0 to"),
    ("encoder.by_category('price', pd.DataFrame())", "price"),
    ("contributions(LogisticRegression(), codes)", "model must be"),
    ("contributions(model, codes, terms='all')", "terms must be one of"),
    ("nearest_categories(pipeline, 'city', 'Paris')", "city.*Paris"),
    ("WaterfallDisplay.from_estimator(pipeline, df[:3], row=3)", "row"),
    ("load_flights(target='price')", "target must be"),
    ("save_model(model, None)", "path must name a file"),
    ("DeepFM(n_fields=2, n_features=0)", "n_features"),
]
GROUPS = {
    "Parameters": PARAMETERS,
    "Tables": TABLES,
    "Targets and weights": TARGETS,
    "After fit": LATER,
}
CASES = [case for cases in GROUPS.values() for case in cases]


def make_names():
    """What the calls may name."""
    from scipy.sparse import csr_array
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    from sklearn_deepfm.datasets import load_flights

    rng = np.random.default_rng(0)
    df = pd.DataFrame(
        {
            "city": rng.choice(["Rome", "Oslo", "Bonn"], 200),
            "user": rng.integers(0, 20, 200),
            "price": rng.normal(size=200),
        }
    )
    y = rng.integers(0, 2, 200)
    encoder = OrdinalFieldEncoder().fit(df)
    codes = encoder.transform(df)
    df_codes = pd.DataFrame(codes, columns=df.columns)

    def auc_by_user(estimator, X, y, groups):
        return 1.0

    def auc_of_half(estimator, X, y):
        return estimator.predict(X[::2]).mean()

    small = {"max_epochs": 1, "embed_dim": 2, "mlp_dims": (2,), "random_state": 0}
    return {
        **{name: getattr(sklearn_deepfm, name) for name in sklearn_deepfm.__all__},
        "LogisticRegression": LogisticRegression,
        "load_flights": load_flights,
        "auc_by_user": auc_by_user,
        "auc_of_half": auc_of_half,
        "np": np,
        "pd": pd,
        "df": df,
        "df_codes": df_codes,
        "dates": pd.Timestamp("2013-01-01"),
        "zoned": pd.Timestamp("2013-01-01", tz="UTC"),
        "sparse": csr_array(codes),
        "codes": codes,
        "y": y,
        "encoder": encoder,
        "model": DeepFMClassifier(**small).fit(codes, y),
        "by_name": DeepFMClassifier(**small).fit(df_codes, y),
        "numbered": df_codes.set_axis([10, 20, 30], axis=1),
        "by_number": DeepFMClassifier(**small).fit(df_codes.set_axis([10, 20, 30], axis=1), y),
        "pipeline": make_pipeline(OrdinalFieldEncoder(), DeepFMRegressor(**small)).fit(df, y),
    }


@pytest.fixture(scope="module")
def names():
    return make_names()


def error_of(call, names):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            eval(call, names)
        except (ValueError, TypeError) as error:
            return error
    raise AssertionError(f"{call} raises nothing")


@pytest.mark.parametrize(("call", "words"), CASES, ids=[call for call, _ in CASES])
def test_wrong_input_is_told_by_name(call, words, names):
    message = " ".join(str(error_of(call, names)).split())
    assert re.search(words, message)
    assert 20 < len(message) < 600


def page(names):
    """The page of the guide, in reStructuredText."""
    parts = [INTRODUCTION]
    for title, cases in GROUPS.items():
        parts.append(f"{title}\n{'-' * len(title)}\n")
        for call, _ in cases:
            error = error_of(call, names)
            message = textwrap.fill(f"{type(error).__name__}: {error}", 110, break_long_words=False)
            parts.append(f"::\n\n    {call}\n\n{textwrap.indent(message, '    ')}\n")
    return "\n".join(parts)


def test_page_of_the_guide_shows_these_messages():
    found = PAGE.read_text(encoding="utf-8")
    missing = [call for call, _ in CASES if f"\n    {call}\n" not in found]
    assert not missing, "python tests/test_messages.py writes the page anew"
    assert len(CASES) >= 40


@pytest.mark.parametrize(("call", "words"), CASES, ids=[call for call, _ in CASES])
def test_messages_of_the_page_are_those_raised(call, words, names):
    text = _plain(PAGE.read_text(encoding="utf-8"))
    error = error_of(call, names)
    raised_by = traceback.extract_tb(error.__traceback__)[-1].filename
    if "sklearn_deepfm" in Path(raised_by).parts:  # messages of others change with their versions
        assert _plain(str(error)) in text


def _plain(text):
    """Text without line breaks and without what other libraries word by their versions."""
    text = re.sub(r"np\.str_\(('.*?')\)", r"\1", " ".join(text.split()))
    of_versions = (
        r": Expected one of cpu.*?device string: gpu",
        r"\(Could not convert.*?\)",
        r"\(time_unit=.*?\)",
    )
    return re.sub("|".join(of_versions), "", text)


if __name__ == "__main__":
    PAGE.write_text(page(make_names()), encoding="utf-8")
