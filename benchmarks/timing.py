"""Times of functions."""

import time

import numpy as np


def in_turn(functions, rounds):
    """Seconds `[rounds, functions]`, each function called once a round after a call that compiles.

    What is compared takes turns, so that the machine's other work meets all alike.
    """
    for function in functions:
        function()
    seconds = np.empty((rounds, len(functions)))
    for row in seconds:
        for i, function in enumerate(functions):
            start = time.perf_counter()
            function()
            row[i] = time.perf_counter() - start
    return seconds


def shortest(function, rounds):
    """The least seconds of some calls, after one that compiles."""
    return float(in_turn([function], rounds).min())
