"""The rows of OverFeat's Table 2 and the bars of its Figure 9, of any network on rendered scenes with one object each.

Table 2: one scale at coarse and at fine stride, four scales, all scales, ten views; with several --weights the ensemble
too. Figure 9: the centre window, scales 1-2, 1-4 and all, for networks with a regressor.

    python benchmarks/overfeat_tables.py --weights shapes [--weights FILE ...] [--images 300] [--seed 1]
"""

import argparse

from keras_det.data import load
from keras_det.models import OverFeat
from keras_det.training import overfeat


def table_2(networks, source):
    """Top-1 and top-5 error of each way to vote: dict of pairs."""
    one, scales = networks[0], networks[0].scales
    four = [scales[i] for i in (0, 1, 3, 5)] if len(scales) == 6 else scales[:4]
    ways = {
        "scale 1, coarse stride": {"scales": scales[:1], "fine": False},
        "scale 1, fine stride": {"scales": scales[:1]},
        f"{len(four)} scales, fine stride": {"scales": four},
    }
    if len(scales) > len(four):
        ways[f"{len(scales)} scales, fine stride"] = {}
    ways[f"{len(scales)} scales, fine stride, their highest vote"] = {"over_scales": "max"}
    ways["4 corners + centre + flip"] = {"ten_views": True}
    mean = {"over_scales": "mean"}
    rows = {f"1 network, {name}": overfeat.top_errors(one, source, **mean | options) for name, options in ways.items()}
    if len(networks) > 1:
        name = f"{len(networks)} networks, {len(four)} scales, fine stride"
        rows[name] = overfeat.top_errors(networks, source, scales=four, **mean)
    return rows


def figure_9(network, source):
    """Localization error of each bar at five guesses and at one."""
    bars = {"centre window": {"scales": network.scales[:1], "centre": True}}
    for last in sorted({2, 4, len(network.scales)}):
        if last <= len(network.scales):
            bars[f"scales 1-{last}"] = {"scales": network.scales[:last]}
    kind = "PCR" if network.arguments["per_class"] else "SCR"
    return {
        f"{kind}, {name}": [overfeat.localization_error(network, source, k=k, **options) for k in (5, 1)]
        for name, options in bars.items()
    }


def show(title, rows):
    """Print a table of two errors a row."""
    print(title)
    for name, (first, second) in rows.items():
        print(f"  {name:45s} {100 * first:6.2f} {100 * second:6.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--weights", action="append", required=True, help="registered name or file; repeat for an ensemble"
    )
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    networks = [OverFeat(weights=name) for name in given.weights]
    source = overfeat.single_objects(load("shapes", images=given.images, seed=given.seed))
    show("Table 2: top-1 and top-5 error, %", table_2(networks, source))
    if networks[0].regressor is not None:
        show("Figure 9: localization error at 5 guesses and at 1, %", figure_9(networks[0], source))


if __name__ == "__main__":
    main()
