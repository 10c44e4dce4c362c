"""SSD networks with random weights whose scores pass the threshold as often as a trained network's in a full image."""

import numpy as np

CANDIDATES = 2500  # scores of an image over the threshold


def crowded(model, seed=0, candidates=CANDIDATES):
    """Spread the logits of an `SSD` and set its class biases so that about so many scores pass its threshold.

    Args:
        model: an `SSD`, which is changed.
        seed: of the image that the scores are counted on.
        candidates: scores over the threshold.

    Returns:
        The model.
    """
    image = np.random.default_rng(seed).integers(0, 256, (1, *model.image_size, 3)).astype("float32")
    logits = np.asarray(model(image)["logits"])[0]
    outputs = logits.shape[1]
    spread = logits.std() / 2  # as far apart as a trained network's
    logits = logits / spread
    low, high = 0.0, 20.0
    for _ in range(30):
        middle = (low + high) / 2
        shifted = logits - middle * (np.arange(outputs) > 0)
        scores = np.exp(shifted - shifted.max(1, keepdims=True))
        many = (scores / scores.sum(1, keepdims=True))[:, 1:] > model.nms_options["score_threshold"]
        low, high = (middle, high) if many.sum() > candidates else (low, middle)
    for layer in model.head.confidence:
        if layer.name.endswith("_conf"):
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel / spread, bias / spread - middle * (np.arange(len(bias)) % outputs > 0)])
    return model
