"""`python -m keras_det` is the `keras-det` command."""

from keras_det.cli import main

if __name__ == "__main__":
    main()
