"""The regressor: a DeepFM behind scikit-learn's interface."""

from sklearn.base import RegressorMixin

from sklearn_deepfm._common.sklearn_callbacks import callbacks_of
from sklearn_deepfm._distributed.group import process_group_of
from sklearn_deepfm._estimators.base import BaseDeepFM
from sklearn_deepfm._estimators.fit_data import FitData, Validation
from sklearn_deepfm._model.torch_modes import own_modes
from sklearn_deepfm._tables.objects import exact_target
from sklearn_deepfm._tables.stream import is_stream, stream_to_score
from sklearn_deepfm._targets.regression import RegressionTarget
from sklearn_deepfm._training.net import DeepFMRegressorNet


class DeepFMRegressor(RegressorMixin, BaseDeepFM):
    """DeepFM: factorization machine and MLP over shared embeddings, for numbers.

    For the fields i of a row, with first-order weights w and embeddings v::

        output = b + sum_i w_i + sum_{i<j} <v_i, v_j> + MLP([v_1 .. v_F])

    The output is trained by squared error on the target standardised over the
    training rows, and predictions are in the target's own unit. Columns of codes
    (integers, booleans, categories) are looked up in a table of embeddings, columns
    of floats in one of bins and a slope. Strings, dates and rare categories are the business of
    :class:`OrdinalFieldEncoder`, in a pipeline.

    Parameters
    ----------
    embed_dim : int, default=16
        Length of the embedding of each feature, the same for all fields, since FM
        multiplies them pairwise. Memory and time grow linearly with it; 8 to 32 is
        usual.
    mlp_dims : tuple of int, default=(128, 64)
        Widths of the MLP's hidden layers. (400, 400, 400) is what most publications
        use; it fits a little better and takes several times as long.
    dropout : float, default=0.2
        Probability, in [0, 1), of dropping a hidden unit while training.
    batch_norm : bool, default=True
        Whether to normalise hidden units over each batch.
    components : collection of {"linear", "fm", "deep"}, default=("linear", "fm", "deep")
        Terms of the sum: ``("linear",)`` is linear regression, ``("linear", "fm")``
        FM, ``("deep",)`` DNN, ``("linear", "deep")`` Wide & Deep.
    learning_rate : float or "auto", default="auto"
        Of Adam, at the start of each fit. With `batch_size="auto"`, "auto" is 1e-3 for up
        to 2,048 training rows and 1.4e-3 from 4,096 on; it follows the root of a size
        of your own, from a quarter of that to four times as much.
    embedding_l2 : float or "auto", default="auto"
        Factor lambda of the penalty ``(lambda/2) * ||embeddings||**2`` that is added to
        the mean loss, over all rows of the table. The strongest lever against
        overfitting on fields with many categories. "auto" is
        ``min(4000 * base_loss / n, 0.5)`` for n training rows, in `partial_fit` those of
        all calls, with a base loss of 1 for each number in a row of y: best values fall
        like that as rows become more.
        Without "deep" among the components it is 1/64 of that. To tune it, try 1/4 to 4
        times the factor that `net_.embedding_l2` tells.
    linear_l2 : float or "auto", default="auto"
        The same for the first-order weights. "auto" is 1/50 of `embedding_l2`.
    weight_decay : float, default=0.0
        The same for the weight matrices of the MLP.
    max_epochs : int, default=50
        Most passes over the training rows. Without validation rows, exactly that many. With
        them, a fit whose last epoch is the best so far warns (ConvergenceWarning).
    batch_size : int or "auto", default="auto"
        Rows per step. "auto" takes a power of 2 of about 1/64 of the training rows,
        between 32 and 4096, and all rows up to 64.
    early_stopping : bool or "auto", default="auto"
        Whether to hold out rows, stop when their score no longer improves, and keep
        the weights of the best epoch. "auto" does so if `X_val` is passed, with
        `validation_split`, or if there are at least 200 training rows. With False and
        `X_val`, all epochs are run and the best weights kept. With ``scoring="loss"``,
        ``linear_l2="auto"`` and up to 16,384 training rows an epoch also has to predict the
        validation rows better, by more than chance, than a linear model of the same fields
        (logistic or ridge regression): else the model is that one.
    scoring : str or callable, default="loss"
        Score of the validation rows: "loss" for the negative loss, the name of a
        scorer, or a callable ``scorer(estimator, X, y)``, which gets the validation rows
        as `fit` got them, and an estimator that answers for them alone. Parameters called
        `sample_weight` and `groups` get the weights and the groups of these rows. NaN
        ends the fit with an error.
    validation_fraction : float, default=0.1
        Share of the training rows to hold out, in (0, 1), if `X_val` is not passed.
        They are drawn at random.
    validation_split : cross-validation splitter, default=None
        Holds out the validation rows of its last split, in the place of a random share:
        ``GroupShuffleSplit(1)`` with `groups` in `fit` keeps a user's rows together,
        ``TimeSeriesSplit()`` holds out the last rows of a table in the order of time.
        A row in both parts is an error.
    n_iter_no_change : int or "auto", default="auto"
        Epochs in a row without a score better by `tol` after which training stops. "auto"
        is 5, or as many as make 250 steps in a small table, where 5 epochs change little.
    tol : float, default=1e-6
        Least improvement of the score that counts.
    lr_schedule : {"plateau", "cosine", None}, default="plateau"
        "plateau" divides the learning rate by 10 after half of `n_iter_no_change`
        epochs (at least 1) in a row without a score better by `tol`; it needs
        validation rows. "cosine" takes it from its value to 0 over `max_epochs`, along
        half a wave: choose as many as you can wait for. None keeps it constant, as
        `partial_fit` does. An LRScheduler among `callbacks` replaces the schedule.
    categorical_features : "from_dtype", None or array-like of {bool, int, str}, \
            default="from_dtype"
        Which columns hold codes: by type (integers, booleans and categories), none, a
        mask, positions or names. All others are numbers. By type, y is asked of each
        column of integers whether neighbouring ones belong together, as those of a
        quantity do: rare ones then share rows of the table with their neighbours, and all
        of them a slope. Columns named here, and those of category dtype, have a row for
        each code. :class:`~sklearn.ensemble.HistGradientBoostingRegressor` has the same
        parameter, but takes integers for numbers.
    n_bins : int, "auto" or None, default="auto"
        Bins of a column of numbers, or of the rare ones among pooled codes, each with an
        embedding of its own, beside a slope that all share. "auto" takes up to 255, of 100
        rows on average, or 20 where there are few. None takes the slope alone.
    pooling : {"mean", "sum"}, default="mean"
        What a cell that holds a list of codes makes of the rows of its members: their
        mean, weighted if members have weights, or their sum.
    pretrained : dict, default=None
        Embeddings to start from: from names or positions of columns to data frames with a
        row of `embed_dim` numbers for each code, which is the frame's index, or the name
        in a column of category dtype (`OrdinalFieldEncoder.by_code` puts codes in the
        place of categories). An array stands for the codes 0, 1, ... Codes that are not
        given start as usual, and codes that fit does not see are not kept.
    frozen : list of str or int, default=None
        Columns of `pretrained` whose embeddings stay as they are; their first-order
        weights are learned.
    sparse_updates : bool or "auto", default="auto"
        Whether a step updates only those rows of the table that its batch touches
        (True) or all of them (False). "auto" is True when the table has more than
        65,536 rows at the first fit, from where on it is faster. See Notes.
    table_optimizer : {"adam", "adagrad"}, default="adam"
        Rule of the table. "adagrad" is row-wise Adagrad with 50 times the learning rate:
        one number for each row where Adam keeps two for each weight, hence a third of the
        memory in training. It updates rows of a batch only.
    ema_epochs : float, default=1.0
        Horizon, in epochs, of the exponential moving average of the weights over the
        steps, with which the model validates and predicts: a step that lies so many
        epochs back counts 1/e of the last one. The average varies less from fit to fit
        and predicts better than the last weights, which 0 takes. `partial_fit` takes
        the last weights always.
    n_members : int, default=1
        Number of models trained side by side and averaged, logit by logit. They have
        nothing in common but the batches and the bias they start from: each holds out rows
        of its own for early stopping (shares of `validation_fraction` that do not
        overlap), so that together they learn from all rows, and the score of an epoch is
        that of each row's prediction by the member that has not seen it. 4 predict better
        than 1, most of all with few rows, in about 3 times the time and 4 times the
        memory. With `X_val` or `validation_split` they share its rows.
    precision : {"float32", "bfloat16"}, default="float32"
        Of the MLP's products in training; predictions are float32. "bfloat16" is faster
        with AMX, AVX-512 BF16 or a GPU, and far slower with AVX2 alone, where fit warns.
    device : str, default="cpu"
        "cpu", "cuda", "cuda:1", "mps", or "auto" for the best at hand. A model
        trained on one device can be loaded where there is none.
    callbacks : list of skorch callbacks, default=None
        Further callbacks, of which each fit takes a shallow copy, such as Checkpoint,
        EpochScoring, GradientNormClipping or LRScheduler. They see `net_`, whose target is
        standardised (mean 0, variance 1).
    checkpoint : str or path-like, default=None
        File that `fit` writes between epochs with all that training goes on with, and
        deletes when it has ended. If the file exists, `fit` on the same rows with the
        same parameters goes on from it, and ends with the same model, bit for bit on a
        CPU, as if it had never been killed. The file is replaced in one step, takes 4
        to 6 times the memory of the weights, and at most a tenth of the time. A fit of
        `warm_start` that goes on with another cannot have one, and `partial_fit` writes
        none.
    distributed : bool or "shards", default=False
        Whether the processes that torchrun has started train one model together. Each of
        them calls `fit` with the same parameters and rows and takes its part of every
        batch, whose size counts all parts; all end with the same model. It is that of one
        process, up to rounding and to what dropout draws and `batch_norm` sees. With
        "shards" each of them gives rows of its own, as a data set of Arrow, and reads and
        keeps no others; parameters, columns and the encoder in front are the same. The
        first process prints and writes files. The user guide has a page on it.
    warm_start : bool, default=False
        Whether `fit` goes on from the weights and the optimizer's state of the last
        one, with rows added to the table for new codes. The weights are the averaged ones,
        with `ema_epochs`. Penalties, learning rate,
        precision, batch size and epochs may change in between, the network may not.
    random_state : int, RandomState instance or None, default=None
        Source of all chance: initialisation, order of the rows, dropout, hold-out.
        With an int, from 0 to 4294967295, fits on the same machine, versions and number of
        threads are equal bit by bit. None takes fresh entropy. Global generators are not
        touched.
    verbose : int, default=0
        1 prints a table of the columns, with the kind of each, and a line per epoch with its
        losses, score and seconds. 2 draws a progress bar with these and the time left in a
        terminal or a notebook; anywhere else it adds the time left to the lines.

    Attributes
    ----------
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if all are strings.
    field_dims_ : ndarray of shape (n_fields,)
        Table rows of each field. Of codes: one for each code that fit saw, missing among
        them, and one for all others; of lists of codes one more if fit saw an empty list. Of
        numbers: one for each bin, one for the slope, one for the mean of the bins, and one
        for NaN if fit saw any. Of pooled codes: as of numbers, and one for each frequent code.
    field_kinds_ : list of str
        What each column is: "codes", each with a table row; "pooled", codes whose neighbours
        share rows and a slope; "numbers"; or "lists of codes".
    n_iter_ : int
        Number of epochs run.
    history_ : list of dict
        One dict per epoch: "epoch", "train_loss", "learning_rate", "dur" (seconds),
        with validation rows "valid_loss" and "valid_score", and what callbacks record.
    loss_curve_ : list of float
        Mean squared error of each epoch on the standardised target, without penalties.
    best_epoch_ : int or None
        Number of the epoch whose weights the model has; 0 if no epoch has beaten the linear
        model, None without validation rows.
    validation_scores_ : list of float or None
        Score of the validation rows after each epoch that had any, greater is better.
    net_ : skorch.NeuralNet
        The net that trained, with its history.
    module_ : DeepFM
        The trained network, in eval mode.

    See Also
    --------
    DeepFMClassifier : The same for classes.
    OrdinalFieldEncoder : From any table to codes.
    DeepFM : The torch module inside.

    Notes
    -----
    A code that fit did not see, and any code of a row whose weight is 0, is predicted
    as an average one: its row is the mean of its field's rows, weighted by frequency.
    Numbers enter as ``u_k + z * v``, with a row of the table for each bin k and a row v
    for the slope over z, the normal score: the standard normal quantile of the share of
    smaller numbers in fit. Beyond the range seen in fit they count as its ends.

    A weight w has the effect of w equal rows, and the scale of all weights has none. Rows
    of weight 0 are dropped. Up to 64 rows, repeats counted, this is exact: equal rows are merged
    into one with the sum of their weights, so that a repeated and a weighted data set are one and
    the same, and the order of the rows has no effect. Beyond, weights multiply the loss, which
    equals repetition in expectation over the batches; rows are held out and counted one by one.
    Weights count within one call of fit or `partial_fit`.

    With `sparse_updates`, a row that a batch touches for the first time after g steps
    makes up for them at once: it moves along its momentum as far as under dense Adam,
    takes the penalty of g steps, and its moments decay by g steps. It differs from dense
    Adam in that the batch, and predictions, see the row as it was before.

    References
    ----------
    .. [1] H. Guo, R. Tang, Y. Ye, Z. Li and X. He, "DeepFM: A Factorization-Machine
       based Neural Network for CTR Prediction", IJCAI 2017.
       https://arxiv.org/abs/1703.04247

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_deepfm import DeepFMRegressor, OrdinalFieldEncoder
    >>> from sklearn_deepfm.datasets import load_flights
    >>> X, y = load_flights(target="delay", return_X_y=True)
    >>> X, y = X[:2000], y[:2000]
    >>> model = make_pipeline(OrdinalFieldEncoder(), DeepFMRegressor(max_epochs=5))
    >>> model.fit(X, y).predict(X[:3]).shape
    (3,)
    """

    _net_class = DeepFMRegressorNet
    _target_class = RegressionTarget

    def fit(
        self,
        X,
        y,
        sample_weight=None,
        *,
        X_val=None,
        y_val=None,
        sample_weight_val=None,
        groups_val=None,
        groups=None,
    ):
        """Fit to a table and numbers.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_fields), or pyarrow.dataset.Dataset
            Codes and numbers. A data set, or what an encoder makes of one, need not fit in
            memory; all its columns but those of target and weights are fields.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), or str or list of str
            Numbers. Of a data set the names of their columns.
        sample_weight : array-like of shape (n_samples,) or str, default=None
            Weights of at least 0; None: all 1. Of a data set the name of their column.
        X_val : data frame or array-like of shape (n_val, n_fields), or Dataset, default=None
            Validation rows, in the place of a hold-out; they are kept in memory.
        y_val : array-like of shape (n_val,), or str or list of str, default=None
            Their target.
        sample_weight_val : array-like of shape (n_val,) or str, default=None
            Their weights.
        groups_val : array-like of shape (n_val,) or str, default=None
            Their groups, for a callable `scoring`. Of a data set the name of their column.
        groups : array-like of shape (n_samples,), default=None
            Group of each row, such as its user, for `validation_split` and for a callable
            `scoring`; without these they have no effect.

        Returns
        -------
        self : DeepFMRegressor
            The fitted estimator. A fit that raises an error leaves it as it was; with
            `warm_start`, one that a callback breaks off keeps the steps taken.

        Raises
        ------
        ValueError
            If a parameter, a column, the target or a weight is not what it has to be.
        """
        validation = Validation(X_val, y_val, sample_weight_val, groups_val)
        data = FitData(X, y, sample_weight, groups, validation)
        group = process_group_of(self.distributed, self.device)
        with callbacks_of(self), own_modes(), group as processes:
            return self._fit(data, processes)

    def partial_fit(self, X, y, sample_weight=None):
        """Go on with one pass over these rows.

        Codes not seen before get rows in the table, which start as an average code
        of their field; numbers and target keep the scale of the first call.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_fields)
            Codes and numbers.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of at least 0; None: all 1.

        Returns
        -------
        self : DeepFMRegressor
            The estimator, one pass further. A call that raises an error leaves it as it
            was; one that a callback breaks off keeps the steps taken.
        """
        with own_modes(), process_group_of(self.distributed, self.device) as group:
            return self._partial_fit(FitData(X, y, sample_weight), self._target_class, group)

    def predict(self, X):
        """Number for each row.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_fields), or pyarrow.dataset.Dataset
            Codes and numbers, with the columns of fit; a data set may have others too.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            In the unit of the target.
        """
        logits = self._logits(X)
        return self._target.predict(logits)

    def score(self, X, y, sample_weight=None):
        """Coefficient of determination of `predict`.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_fields), or pyarrow.dataset.Dataset
            Codes and numbers, with the columns of fit; a data set may have others too.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), or str or list of str
            Numbers. Of a data set the names of their columns.
        sample_weight : array-like of shape (n_samples,) or str, default=None
            Weights; None: all 1. Of a data set the name of their column.

        Returns
        -------
        r2 : float
            1 minus the ratio of squared errors to squared deviations from the mean.
        """
        if is_stream(X):
            X, y, sample_weight = stream_to_score(self, X, y, sample_weight)
        return super().score(X, exact_target(y), sample_weight)
