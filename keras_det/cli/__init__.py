"""The `keras-det` command: a module for each command or group of commands, and what they share."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported, in the functions of the commands

from keras_det.cli.command import app, main

__all__ = ["app", "main"]
