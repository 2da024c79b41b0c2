# Every target makes .venv first if there is none. PYTHON is only used to make it.
PYTHON ?= $(or $(shell command -v python3.11),python3)
VENV := .venv
comma := ,
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

.PHONY: readme install sample demo-train test test-slow test-alone test-judges check format bench fuzz clean

install: $(STAMP)

$(STAMP): setup.py constraints.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "Python 3.11 is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	@touch $@

# The RGB stream of DeepMind's rgb_scratch on a video that a package index has.
sample: install
	$(BIN)/python -m i3d_tf.evaluate_sample --eval_type=rgb --imagenet_pretrained=false --sample=backflip

# Fine-tunes on a rendered data set that only motion tells, in both frameworks, and evaluates.
demo-train: install
	$(BIN)/python -m common.demo --framework=i3d_torch --output=out/demo
	$(BIN)/python -m common.demo --framework=i3d_tf --output=out/demo

# In parallel, but a framework in each process takes memory.
PARALLEL := --numprocesses=auto --maxprocesses=4 --dist=worksteal

test: install
	$(BIN)/python -m pytest -m "not slow" $(PARALLEL) $(ARGS)

test-slow: install
	$(BIN)/python -m pytest -m slow $(PARALLEL) $(ARGS)

# In environments that have one framework alone, or none. What needs no framework, and takes long, is
# left to `make test`.
test-alone: test-alone-base test-alone-torch test-alone-tf

LONG := every_pair_test.py formats/corruption_test.py formats/fuzz_test.py formats/malicious_*
# What no framework could change, and takes long, is left out there, too.
test-alone-base: TESTS = common convert $(addprefix --ignore=, common/work common/demo \
  $(addprefix common/prepare/, torture_test.py kill_test.py checking_test.py))
NEEDS_NONE := $(addprefix --ignore=, convert/formats common/prepare common/work common/datasets common/training \
  common/evaluation common/demo)
test-alone-torch: TESTS = common convert i3d_torch parity_tests $(NEEDS_NONE)
test-alone-tf: TESTS = common convert i3d_tf parity_tests $(NEEDS_NONE)
test-alone-%: $(VENV)-%/installed
	$(VENV)-$*/bin/python -m pytest -m "not slow" $(PARALLEL) $(TESTS) \
	  $(addprefix --ignore-glob=convert/,$(LONG)) $(ARGS)

# With the software whose formats the converter writes; there, a judge that is missing fails.
test-judges: $(VENV)-judges/installed
	I3D_JUDGES=1 $(VENV)-judges/bin/python -m pytest -m judged convert $(ARGS)

.PRECIOUS: $(VENV)-%/installed
$(VENV)-%/installed: setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)-$*
	$(VENV)-$*/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[test$(patsubst %,$(comma)%,$(filter-out base,$*))]'
	@touch $@

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install
	@mkdir -p benchmarks/results
	$(BIN)/python benchmarks/conversion.py --results=benchmarks/results/conversion.md
	$(BIN)/python benchmarks/streaming.py --results=benchmarks/results/streaming.md
	$(BIN)/python benchmarks/flow.py --results=benchmarks/results/flow.md
	$(BIN)/python benchmarks/preparation.py --results=benchmarks/results/preparation.md
	$(BIN)/python benchmarks/memory.py --results=benchmarks/results/memory.md
	$(BIN)/python benchmarks/training.py --results=benchmarks/results/training.md
	$(BIN)/python benchmarks/features.py --results=benchmarks/results/features.md

# Damaged checkpoints for every reader; more of them with ARGS="--rounds=100000 --seed=1".
fuzz: install
	$(BIN)/python -m convert.formats.fuzz $(ARGS)

# The README's table of architectures, from the registry.
readme: install
	$(BIN)/python -m convert.listing README.md

clean:
	rm -rf $(VENV) $(VENV)-* build *.egg-info
