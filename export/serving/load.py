"""How many images a second a server takes, and how long each waits.

    python load.py --rest http://localhost:8501 --model ssd300 --threads 8 --requests 400 image.jpg ...

Every thread sends one image after the other; prints one JSON object.
"""

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from client import detect_grpc, detect_rest


def run(ask, images, threads, requests):
    """Send `requests` images in turn from `threads` threads; `ask` takes a list of one image.

    Returns:
        Dict of `requests`, `failed`, `images_per_second`, and the `median_ms`, `p95_ms`, `p99_ms` of those answered.
    """

    def one(i):
        start = time.perf_counter()
        try:
            ask([images[i % len(images)]])
        except RuntimeError:
            return None
        return time.perf_counter() - start

    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        seconds = list(pool.map(one, range(requests)))
    elapsed = time.perf_counter() - start
    answered = sorted(s for s in seconds if s is not None)
    places = {"median_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}
    times = {
        name: round(1000 * answered[int(fraction * (len(answered) - 1))], 2)
        for name, fraction in places.items()
        if answered
    }
    rate = round(len(answered) / elapsed, 1)
    return {"requests": requests, "failed": requests - len(answered), "images_per_second": rate} | times


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    server = parser.add_mutually_exclusive_group(required=True)
    server.add_argument("--rest", metavar="URL")
    server.add_argument("--grpc", metavar="HOST:PORT")
    parser.add_argument("--model", default="ssd300")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("images", nargs="+", type=Path)
    arguments = parser.parse_args()
    address = arguments.rest or arguments.grpc
    detect = detect_rest if arguments.rest else detect_grpc
    try:
        images = [path.read_bytes() for path in arguments.images]
        ask = lambda batch: detect(address, arguments.model, batch)  # noqa: E731
        print(json.dumps(run(ask, images, arguments.threads, arguments.requests)))
    except OSError as error:
        sys.exit(f"load.py: {error}")


if __name__ == "__main__":
    main()
