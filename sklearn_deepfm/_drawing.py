"""What the displays share: axes, colours and labels."""

LONGEST_LABEL = 28  # characters
UP, DOWN, REST = "#c44e52", "#4c72b0", "#8c8c8c"


def axes(ax, size):
    """The axes to draw into, new ones of a size in inches if none are given.

    Raises
    ------
    ImportError
        If matplotlib, which only drawing needs, is not installed.
    """
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            "Drawing needs matplotlib, which is not installed: pip install matplotlib, or "
            "sklearn_deepfm[plot]."
        ) from error
    return pyplot.subplots(figsize=size, layout="constrained")[1]


def short(label):
    """A label cut to a length that leaves room for the picture."""
    label = str(label)
    return label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…"
