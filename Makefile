# Every target works on a fresh machine: it makes .venv and installs the package first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export TF_CPP_MIN_LOG_LEVEL ?= 2

BCCD ?= ../shared/data/bccd
VOC2007 ?= ../shared/data/voc2007
VOC2012 ?= ../shared/data/voc2012/VOC2012
COCO_TINY ?= ../shared/data/coco_tiny

.PHONY: demo fuzz test extras test-extras test-slow test-long test-oldest test-nightly lint types prove prove-ssd prove-detectornet prove-multibox prove-class-generic prove-overfeat bench notebooks docs images web wheel-test sdist-test clean

$(STAMP): setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v < (3, 14) else "keras_det needs Python 3.10 to 3.13, this is %d.%d: make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

demo: $(STAMP)
	$(BIN)/keras-det demo

test: $(STAMP)
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m 'not slow and not long'

# The rest of what a change must pass: trainings, exports and whole commands that take long to compile.
test-slow: $(STAMP)
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m slow

# What `make test` skips for want of a package: installs the packages, then runs those tests alone. Chromium comes from
# elsewhere: where there is none, one test is skipped.
extras: $(STAMP)
	$(BIN)/python -m pip install --quiet --editable '.[test_extras]'

test-extras: extras
	$(BIN)/python -m pytest -q -n 2 -m needs

# More models through the same bodies of tests, a few minutes.
test-long: $(STAMP)
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m long

# Damaged files for every reader, on new seeds every time; a minute for each of the fuzzers.
SECONDS ?= 60
fuzz: $(STAMP)
	$(BIN)/python tests/fuzzers.py --seconds $(SECONDS)

# The suite on the oldest versions that setup.cfg admits.
test-oldest:
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --editable '.[test]' 'tensorflow==2.18.*' 'keras==3.8.0'
	.venv-oldest/bin/python -m pytest -q -n 2 --dist loadfile

# The suite on tomorrow's Keras, which today's TensorFlow runs on too.
test-nightly:
	$(PYTHON) -m venv .venv-nightly
	.venv-nightly/bin/python -m pip install --quiet --editable '.[test]'
	.venv-nightly/bin/python -m pip uninstall --quiet --yes keras
	.venv-nightly/bin/python -m pip install --quiet --upgrade --pre keras-nightly
	.venv-nightly/bin/python -m pytest -q -n 2 --dist loadfile -m 'not long'

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/python -m pip install --quiet 'basedpyright>=1.29'
	$(BIN)/basedpyright --pythonpath $(BIN)/python

# The long trainings, each writing benchmarks/results/*.json and the weights that the package embeds.
prove: prove-ssd prove-detectornet prove-multibox prove-class-generic prove-overfeat

prove-detectornet: $(STAMP)
	$(BIN)/python benchmarks/prove_detectornet_shapes.py
	$(BIN)/python benchmarks/prove_sliding_windows.py

prove-multibox: $(STAMP)
	$(BIN)/python benchmarks/prove_multibox_shapes.py

prove-overfeat: $(STAMP)
	$(BIN)/python benchmarks/prove_overfeat_shapes.py

prove-ssd: $(STAMP)
	$(BIN)/python benchmarks/prove_ssd_shapes.py
	$(BIN)/python benchmarks/prove_ssd_bccd.py $(BCCD)

prove-class-generic: $(STAMP)
	$(BIN)/python benchmarks/prove_class_generic_shapes.py

bench: $(STAMP)
	$(BIN)/python benchmarks/metrics.py
	$(BIN)/python benchmarks/inference.py
	$(BIN)/python benchmarks/box_grid.py
	$(BIN)/python benchmarks/matching.py
	$(BIN)/python benchmarks/step.py
	$(BIN)/python benchmarks/box_search.py
	$(BIN)/python benchmarks/dense.py
	$(BIN)/python benchmarks/voc2007_analysis.py $(VOC2007)
	$(BIN)/python benchmarks/finetune.py $(BCCD)
	$(BIN)/python benchmarks/input.py $(VOC2012) $(BCCD)
	$(BIN)/python benchmarks/tfod_person.py $(COCO_TINY)
	$(BIN)/python benchmarks/speed.py

# The notebooks in full, with their outputs; the tests run them shortened.
notebooks: $(STAMP)
	$(BIN)/python -m pip install --quiet --editable '.[notebooks]'
	$(BIN)/python notebooks/execute.py

docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	$(BIN)/python -m mkdocs build

# A page that detects in the browser with the embedded network, for any static host: runs/web.
web: $(STAMP)
	$(BIN)/python -m pip install --quiet --editable '.[onnx]'
	$(BIN)/keras-det export --weights shapes --format web --check --out runs/web

# The images of the README and of the documentation.
images: $(STAMP)
	$(BIN)/python docs/figures.py

# The wheel in an empty environment, its dependencies installed anew.
wheel-test: $(STAMP)
	$(BIN)/python tests/wheel_elsewhere.py

# The source distribution, unpacked, with some of the tests that it holds.
sdist-test: $(STAMP)
	rm -rf dist/sdist
	$(BIN)/python -m pip install --quiet 'build>=1'
	$(BIN)/python -m build --sdist --outdir dist/sdist
	tar -xzf dist/sdist/*.tar.gz -C dist/sdist --strip-components 1
	cd dist/sdist && PYTHONPATH=$$PWD ../../$(BIN)/python -m pytest -q tests/boxes tests/test_metadata.py tests/test_readme.py

clean:
	rm -rf $(VENV) .venv-oldest .venv-nightly runs site build dist *.egg-info
