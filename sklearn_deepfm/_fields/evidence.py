"""Evidence from y that neighbouring codes of a column belong together.

The question is asked of each column by itself, with predictions that take no training: means of y,
shrunk to what is known before. Out-of-fold losses compare means by code with means by bins of
neighbouring codes. What order does is tested against shuffled orders, which may also be asked
beside another column. All losses are sums over cells, a cell being the rows of one fold that have
one code, so that the time is that of counting the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from sklearn_deepfm._common.quantiles import inner_edges
from sklearn_deepfm._fields.order import order_matters
from sklearn_deepfm._fields.outcomes import Difference, Outcome, Outcomes, Totals
from sklearn_deepfm._fields.ranks import ranks_of

N_FOLDS = 5
LEVELS = 6, 24, 96  # bins of each level
# t statistics: beyond the first codes gain from the others of their bin, beyond the second they
# do by their order, beyond the third codes tell more than their bins.
GAIN_OF_OTHERS, GAIN_OF_ORDER, NAMES = 1.0, 2.0, 3.0
_FEWEST_CODES = 3  # of two codes each is the other's only neighbour
# Few codes that have this many rows each need nothing of their neighbours.
_FEW_CODES, _ENOUGH_ROWS, _MOSTLY = 12, 20, 0.8
_FEW_ROWS = 5  # of a code, from which hardly anything is learned
_TOO_FEW_ROWS = 64  # to tell anything


class Evidence(NamedTuple):
    """Statistics of differences of losses out of fold, each a mean by its standard error.

    Attributes
    ----------
    bins_beat_codes : float
        Loss of means by code less that of means by bins.
    others_help_codes : float
        Loss of means by code less that of means by code shrunk to the others of their bin.
    codes_beat_bins : float
        Loss of means by bins less that of means by code shrunk to the others of their bin.
    codes_beat_mean : float
        Loss of the mean of all rows less that of means by code.
    """

    bins_beat_codes: float
    others_help_codes: float
    codes_beat_bins: float
    codes_beat_mean: float


def neighbours_belong_together(
    codes: np.ndarray,
    outcomes: Outcomes,
    beside_others: Callable[[np.ndarray], bool] = lambda codes: False,
    *,
    is_sample: bool = False,
) -> bool:
    """Whether y says that codes next to each other, in their order, are better pooled.

    They are if nothing is at stake: most codes have fewer than 5 rows, and predict worse than the
    mean of all rows does. Else three questions have to be answered with yes.

    1. Do neighbours help? Their bins predict y better than the codes do; or, where most rows have
       codes of at least 20 rows, which keep rows of their own when pooled, a code together with
       the others of its bin does.
    2. Is little lost? Either most rows have such codes, or a code tells no more than its bin.
    3. Is it their order that helps, and not that rare codes have few rows? It is if bins differ
       more than those of shuffled codes, by the column itself or beside another one; or if codes
       tell no more than bins, and still gain from the others of their bin.

    Parameters
    ----------
    codes : ndarray of int of shape (n_samples,)
    outcomes : list of ClassOutcome or NumberOutcome
        Of several the means and the standard errors are added up, as if their errors were one.
    beside_others : callable
        Whether the order of the codes matters beside another column. Nobody asks as long as
        something else tells.
    is_sample : bool, default=False
        Whether the table has more rows than these, so that few of a code may be many there.
    """
    rank, n_codes = ranks_of(codes)
    are_learned = n_codes < _FEW_CODES and len(codes) >= _ENOUGH_ROWS * n_codes
    if n_codes < _FEWEST_CODES or len(codes) <= _TOO_FEW_ROWS or are_learned:
        return False
    # A fixed seed: the answer must be the same in all members and processes.
    fold = np.random.RandomState(0).randint(N_FOLDS, size=len(rank))
    of_codes = [outcome.totals(rank, (1, n_codes)) for outcome in outcomes]
    rows = of_codes[0].n[0]
    keep_rows = rows[rows >= _ENOUGH_ROWS].sum() >= _MOSTLY * len(codes)
    evidence = evidence_of(rank, fold, rows, outcomes)
    are_rare = n_codes >= _FEW_CODES and rows[rows < _FEW_ROWS].sum() >= len(codes) / 2
    if are_rare and not is_sample and evidence.codes_beat_mean < 0:
        return True
    others_help = keep_rows and evidence.others_help_codes > GAIN_OF_OTHERS
    if not (others_help or evidence.bins_beat_codes > 0):
        return False
    are_names = evidence.codes_beat_bins > NAMES
    if are_names and not keep_rows:
        return False
    if not are_names and evidence.others_help_codes > GAIN_OF_ORDER:
        return True
    residuals = np.concatenate([totals.residuals()[0] for totals in of_codes], axis=1)
    return order_matters(residuals, rows) or beside_others(codes)


def evidence_of(
    rank: np.ndarray, fold: np.ndarray, rows: np.ndarray, outcomes: Outcomes
) -> Evidence:
    """Compare predictions out of fold, with the bins of the level that predicts best.

    Parameters
    ----------
    rank, fold : ndarray of int of shape (n_samples,)
    rows : ndarray of shape (n_codes,)
        Total weight of the rows of each code.
    outcomes : list of ClassOutcome or NumberOutcome
    """
    cell, shape = fold * len(rows) + rank, (N_FOLDS, len(rows))
    groups = [_bins(rows, n_bins) for n_bins in levels_of(len(rows))]
    found = [_Predictions(outcome, outcome.totals(cell, shape), groups) for outcome in outcomes]
    levels = range(len(groups))
    k = _best([_total(p.gain(p.mean, p.bins[k]) for p in found) for k in levels])
    m = _best([_total(p.gain(p.codes, p.with_others[k]) for p in found) for k in levels])
    return Evidence(
        _t(_total(p.gain(p.codes, p.bins[k]) for p in found)),
        _t(_total(p.gain(p.codes, p.with_others[m]) for p in found)),
        _t(_total(p.gain(p.bins[k], p.with_others[m]) for p in found)),
        _t(_total(p.gain(p.mean, p.codes) for p in found)),
    )


def levels_of(n_codes: int) -> list[int]:
    """Bins of each level: at most one for two codes, as a bin of one code pools nothing."""
    return [n_bins for n_bins in LEVELS if 2 * n_bins <= n_codes] or [max(n_codes // 2, 2)]


class _Predictions:
    """Means of one output for the rows of each cell, learned from the rows of other folds.

    Attributes
    ----------
    mean, codes : ndarray of shape (n_folds, n_codes, n_columns)
        Of all rows; of those of the code, shrunk to the mean of all.
    bins : list of ndarray
        For each level, means of the bins, shrunk to what the levels above say.
    with_others : list of ndarray
        For each level, means of the code, shrunk to the mean of the others of its bin.
    """

    def __init__(self, outcome: Outcome, totals: Totals, groups: list[np.ndarray]) -> None:
        self._outcome, self._totals = outcome, totals
        # Of the rows out of each fold.
        n = (totals.n.sum(0) - totals.n)[..., np.newaxis]
        sums = totals.sums.sum(0) - totals.sums
        m = outcome.rows_of_prior
        mean = sums.sum(1, keepdims=True) / np.maximum(n.sum(1, keepdims=True), 1e-12)
        self.mean = np.broadcast_to(mean, sums.shape)
        self.codes = (sums + m * mean) / (n + m)
        self.bins, self.with_others = [], []
        of_bin = self.mean
        for group in groups:
            excess = _grouped(sums - n * of_bin, group) / (_grouped(n, group) + m)
            of_bin = of_bin + excess[:, group]
            self.bins.append(of_bin)
            n_others = _grouped(n, group)[:, group] - n
            of_others = _grouped(sums, group)[:, group] - sums
            prior = (of_others + m * mean) / (n_others + m)
            self.with_others.append((sums + m * prior) / (n + m))

    def gain(self, first: np.ndarray, second: np.ndarray) -> Difference:
        """Loss of one prediction less that of another one."""
        return self._outcome.difference(self._totals, first, second)


def _total(gains: Iterable[Difference]) -> Difference:
    """The sum of the means, and of the standard errors."""
    means, errors = zip(*gains, strict=True)
    return sum(means), sum(errors)


def _best(gains: list[Difference]) -> int:
    """The position of the largest mean."""
    return int(np.argmax([mean for mean, _ in gains]))


def _t(gain: Difference) -> float:
    mean, error = gain
    return float(mean / (error + 1e-12))


def _bins(rows: np.ndarray, n_bins: int) -> np.ndarray:
    """The bin of each code, of about equally many rows."""
    codes = np.arange(len(rows))
    return np.searchsorted(inner_edges(codes, rows, n_bins), codes, side="right")


def _grouped(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Sums over the codes of each group; groups are neighbours, in ascending order."""
    return np.add.reduceat(values, np.flatnonzero(np.diff(group, prepend=-1)), axis=1)
