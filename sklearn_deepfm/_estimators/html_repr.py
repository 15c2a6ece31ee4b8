"""HTML summary of a fitted estimator, which a notebook shows below its parameters."""

import html

from sklearn.base import BaseEstimator

from sklearn_deepfm._training.best_epoch import best_epoch

MOST_FIELDS = 30  # in the list; further ones are counted


class HTMLSummaryMixin(BaseEstimator):
    """Adds the summary to the HTML that scikit-learn makes of an estimator.

    Since 1.9 scikit-learn asks each estimator, inside a pipeline too, for a table of its fitted
    attributes, and the summary goes before this table. In older versions there is no such table,
    and the summary goes to the end of the page.
    """

    def _get_fitted_attr_html(self, *args, **kwargs):
        shown = super()._get_fitted_attr_html(*args, **kwargs)
        if hasattr(self, "net_"):
            attributes = shown._repr_html_inner
            shown._repr_html_inner = lambda: summary_html(self) + attributes()
        return shown

    def _repr_html_inner(self):
        return self._with_summary(super()._repr_html_inner())

    def _repr_mimebundle_(self, **kwargs):
        bundle = super()._repr_mimebundle_(**kwargs)
        if "text/html" in bundle:
            bundle["text/html"] = self._with_summary(bundle["text/html"])
        return bundle

    def _with_summary(self, page):
        # From 1.9 on `_get_fitted_attr_html` has added the summary already.
        is_shown = hasattr(BaseEstimator, "_get_fitted_attr_html")
        return page if is_shown or not hasattr(self, "net_") else page + summary_html(self)


def summary_html(estimator):
    """Fields, sizes and epochs of training as an HTML fragment."""
    dims, module = estimator.field_dims_, estimator.module_
    n_mlp = sum(p.numel() for name, p in module.named_parameters() if name.startswith("mlps"))
    members = f", of {module.n_members} members" if module.n_members > 1 else ""
    facts = {
        "fields": f"{len(dims)}, of {dims.sum():,} rows of the table",
        "parameters": f"{module.table.numel():,} in the table, {n_mlp:,} in the MLP{members}",
        "epochs": _epochs(estimator.history_),
    }
    rows = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in facts.items())
    return (
        f'<div class="deepfm-summary"><table>{rows}</table>'
        f"<details><summary>Fields</summary>{_fields(estimator)}</details></div>"
    )


def _epochs(history):
    scores = [epoch.get("valid_score") for epoch in history]
    if not history or None in scores:
        return f"{len(history)}"
    best = best_epoch(history)
    if not best:
        return f"{len(history)}, none of which is better than a linear model, which was kept"
    return f"{len(history)}, the best one {best} with the score {scores[best - 1]:.5g}"


def _fields(estimator):
    fields, n_fields = estimator._fields, len(estimator.field_dims_)
    rows = [
        # Names come from the data, and may look like tags.
        f"<tr><td>{html.escape(str(field.name))}</td><td>{field.description}</td>"
        f"<td>{field.n_rows:,}</td></tr>"
        for field in (fields[j] for j in range(min(n_fields, MOST_FIELDS)))
    ]
    if n_fields > MOST_FIELDS:
        rows.append(f'<tr><td colspan="3">and {n_fields - MOST_FIELDS} more</td></tr>')
    head = "<tr><th>name</th><th>kind</th><th>rows</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"
