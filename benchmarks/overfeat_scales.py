"""What a sixth scale brings the embedded OverFeat, and what it costs; it was trained at five.

The smallest objects, a tenth of the scene's side, fill 43 % of a window at the largest of the five scales and 60 % at
the sixth. Both rows are of the same scenes, never trained on: those of `overfeat_shapes.json`. Writes
`results/overfeat_scales.json`.

    python benchmarks/overfeat_scales.py
"""

import time

from results import write_result

from keras_det.data import load
from keras_det.models import OverFeat
from keras_det.training import overfeat

HELD_OUT = {"images": 300, "seed": 1}
SIXTH = (1391, 1391)
BATCH = 4  # the largest scale needs the memory


def main():
    held_out, rows = load("shapes", **HELD_OUT), {}
    five = OverFeat(weights="shapes").scales
    for scales in (five, (*five, SIXTH)):
        model, start = OverFeat(weights="shapes", scales=scales), time.perf_counter()
        found = overfeat.figures(model, held_out, batch_size=BATCH)
        seconds = time.perf_counter() - start
        pixels = sum(height * width for height, width in scales) / 1e6
        rows[f"{len(scales)} scales"] = found | {"megapixels": round(pixels, 2), "minutes": round(seconds / 60, 2)}
        print(len(scales), rows[f"{len(scales)} scales"], flush=True)
    write_result("overfeat_scales", {"held_out": HELD_OUT, "sixth": SIXTH, "rows": rows}, HELD_OUT["seed"])


if __name__ == "__main__":
    main()
