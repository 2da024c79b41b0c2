# Every target makes .venv first if there is none. PYTHON is only used to make it.
PYTHON ?= $(or $(shell command -v python3.11),python3)
VENV := .venv
comma := ,
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

.PHONY: models install sample demo-train test test-slow test-alone test-judges check format bench clean

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

# In parallel, but a framework in each process takes memory. Threads of one wait busily for each
# other where another has the cores: with one thread each, the tests take half of the time.
PARALLEL := --numprocesses=auto --maxprocesses=4 --dist=worksteal
test test-slow test-alone: export OMP_NUM_THREADS ?= 1

test: install
	$(BIN)/python -m pytest -m "not slow" $(PARALLEL) $(ARGS)

test-slow: install
	$(BIN)/python -m pytest -m slow $(PARALLEL) $(ARGS)

# In a real environment without frameworks, or with one: BACKEND=base, torch or tf. `make test`
# simulates these with an import ban (parity_tests/one_framework_test.py).
BACKEND ?= base
ALONE := parity_tests/one_framework_test.py common/arch common/annotations common/models_test.py
test-alone: $(VENV)-$(BACKEND)/installed
	$(VENV)-$(BACKEND)/bin/python -m pytest $(PARALLEL) $(ALONE) \
	  $(addprefix i3d_,$(filter-out base,$(BACKEND))) $(ARGS)

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
	$(BIN)/python benchmarks/flow.py --results=benchmarks/results/flow.md
	$(BIN)/python benchmarks/network.py --results=benchmarks/results/network.md
	$(BIN)/python benchmarks/train.py --results=benchmarks/results/train.md
	$(BIN)/python benchmarks/pipeline.py --results=benchmarks/results/pipeline.md

.PHONY: bench-gpu
bench-gpu: install
	@$(BIN)/python -c "import sys, torch; sys.exit(not torch.cuda.is_available())" || \
	  { echo "bench-gpu needs a CUDA device that PyTorch can use; there is none here."; exit 1; }
	$(BIN)/python benchmarks/network.py --device=gpu --rounds=20 --results=benchmarks/results/network-gpu.md
	$(BIN)/python benchmarks/train.py --device=gpu --batches=2,8 --frames=64 --results=benchmarks/results/train-gpu.md
	$(BIN)/python benchmarks/pipeline.py --device=gpu --results=benchmarks/results/pipeline-gpu.md
	$(BIN)/python benchmarks/flow.py --results=benchmarks/results/flow-gpu.md

# Lines and files per folder, and what exceeds the budgets; ARGS=--check fails if something does.
.PHONY: size
size: install
	@$(BIN)/python benchmarks/size.py $(ARGS)

# The table of architectures in docs/models.md, from the registry.
models: install
	$(BIN)/python -m convert.listing docs/models.md

clean:
	rm -rf $(VENV) $(VENV)-* build *.egg-info
