"""DetectorNet class by class: each class's samples, its training, the whole put together, and the paper's table."""

import numpy as np

from keras_det.data import relabel

POSITIVE = 0.4  # share of samples that cover an object of the class, section 6


def of_one_class(source, name, negative_share):
    """The training images of one class's network: its objects alone, so often that 40 % of the samples cover one.

    Where the class is rare its images come several times, where it is frequent the others do.

    Args:
        source: a `keras_det.data.Source`.
        name: the class.
        negative_share: of samples without an object, of images that have one, as `DetectorNet` takes it: at most 0.6,
            with which images without an object are left out.

    Returns:
        A view of the source with this class alone, in which each image comes at least once.

    Raises:
        ValueError: a name that is no class, or no object of it; or `negative_share` leaves fewer than 40 %.
    """
    if negative_share > 1 - POSITIVE:
        raise ValueError(f"`negative_share` must be at most {1 - POSITIVE}; got {negative_share}.")
    own = relabel(source, {name: name})
    shows = np.array([len(own.annotation(i)) > 0 for i in range(len(own))])
    if not shows.any():
        raise ValueError(f"{source.name} has no {name!r} to train on.")
    showing, others = np.flatnonzero(shows), np.flatnonzero(~shows)
    wanted = POSITIVE / (1 - negative_share)
    if wanted < 1 and len(others):
        count = int(np.ceil(max(len(showing) / wanted, len(others) / (1 - wanted))))
        showing = np.resize(showing, round(count * wanted))
        others = np.resize(others, count - len(showing))
    else:
        others = others[:0]
    return own.subset(np.concatenate([showing, others]))
