# Every target sets itself up in a virtual environment of its own; needs Python 3.10 or newer and the package registry.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# What the tests of hand-off files run: the simulators themselves, and a machine that has onnx and onnxruntime alone.
SIMULATORS := $(VENV)-simulators
PLAIN := $(VENV)-plain
SITE := $(VENV)-docs
# The tools that benchmarks/peers_table.py sets beside ours.
PEERS := $(VENV)-peers

.PHONY: demo test test-slow lint docs format clean

demo: $(READY)
	$(BIN)/python examples/demo.py

test: $(READY) $(SIMULATORS)/.ready $(PLAIN)/.ready
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: $(READY) $(SIMULATORS)/.ready $(PLAIN)/.ready
	$(BIN)/python -m pytest -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The pages that are made from the code, and the site of all pages: build/site/index.html.
docs: $(READY) $(SITE)/.ready
	for page in operators options commands api; do $(BIN)/python docs/make_$$page.py || exit 1; done
	$(SITE)/bin/mkdocs build --strict --site-dir build/site

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(SIMULATORS) $(PLAIN) $(SITE) build demo-output

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

$(SIMULATORS)/.ready: tests/simulators/requirements.txt
	$(PYTHON) -m venv $(SIMULATORS)
	$(SIMULATORS)/bin/python -m pip install --quiet --requirement tests/simulators/requirements.txt
	touch $@

$(PEERS)/.ready: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --requirement benchmarks/peers/requirements.txt
	touch $@

$(PLAIN)/.ready:
	$(PYTHON) -m venv $(PLAIN)
	$(PLAIN)/bin/python -m pip install --quiet onnx onnxruntime
	touch $@

$(SITE)/.ready: pyproject.toml
	$(PYTHON) -m venv $(SITE)
	$(SITE)/bin/python -m pip install --quiet --upgrade pip
	$(SITE)/bin/python -m pip install --quiet --group docs
	touch $@
