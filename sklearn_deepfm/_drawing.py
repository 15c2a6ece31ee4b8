"""What the displays share: axes, colours and labels."""

LONGEST_LABEL = 28  # characters
UP, DOWN, REST = "#c44e52", "#4c72b0", "#8c8c8c"
AS_IT_IS = {"parse_math": False}  # a $ in a name is no formula


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


def check_at_least(least, **value):
    """Raise a ValueError if a parameter, given by its name, is smaller."""
    for name, number in value.items():
        if number < least:
            raise ValueError(f"{name} must be at least {least}, got {number!r}.")
