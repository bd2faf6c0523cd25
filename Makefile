# make demo | test | test-fast | lint | docs | doctor | ops | clean
# Everything is installed into .venv; nothing else on the machine is touched, and nothing is compiled.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
CORES := $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)
INSTALLED := $(VENV)/.installed
TOOLS := $(VENV)/.tools

.PHONY: help install demo test test-fast lint docs doctor ops clean

help:
	@echo "make demo       install, pretrain a small ViT with BAM, score it, write a page"
	@echo "make test       run all tests"
	@echo "make test-fast  run the fast tests, in less than 90 seconds"
	@echo "make lint       rules and format (ruff), types (mypy), import directions (import-linter)"
	@echo "make docs       build the documentation into docs/_build/html; a broken link fails"
	@echo "make doctor     check the installation and print the fix for each fault"
	@echo "make ops        compile mmcv's own operators; only your own configs may need them"
	@echo "make clean      delete .venv, the toy world and the demo's results"

install: $(INSTALLED)

# mmcv's opencv-python needs libGL, which servers and containers may lack. The headless one, whose
# files replace it, does not.
$(INSTALLED): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is required, this is " + sys.version) if sys.version_info < (3, 10) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing torch, the mm packages and the rest into $(VENV) (2 to 4 minutes, 5 GB)"
	@$(PIP) install -q -c constraints.txt -e ".[onedl]"
	@$(BIN)/python -c 'import cv2' 2>/dev/null || \
		$(PIP) install -q -c constraints.txt --no-deps --force-reinstall opencv-python-headless
	@touch $@

$(TOOLS): $(INSTALLED)
	@$(PIP) install -q -c constraints.txt -e ".[onedl,dev]"
	@touch $@

demo: $(INSTALLED)
	@$(BIN)/bam-mm demo

test: $(TOOLS)
	@$(BIN)/python -m pytest -n $(CORES) --dist loadfile

test-fast: $(TOOLS)
	@$(BIN)/python -m pytest -n $(CORES) --dist loadfile -m "not slow"

lint: $(TOOLS)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: $(TOOLS)
	@$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

doctor:
	@if test -x $(BIN)/python; then $(BIN)/python tools/doctor.py; else $(PYTHON) tools/doctor.py; fi

# mmcv finds torch only without pip's build isolation, and compiles for the CPU alone where it sees no
# GPU: on a login node, set FORCE_CUDA=1 and TORCH_CUDA_ARCH_LIST.
ops: $(INSTALLED)
	@echo "compiling mmcv's operators on $(CORES) cores (about 18 core-minutes)"
	@$(PIP) install -q -c constraints.txt setuptools wheel ninja
	@MMCV_WITH_OPS=1 MAX_JOBS=$(CORES) $(PIP) install -q -c constraints.txt --no-build-isolation --no-deps \
		--no-cache-dir --force-reinstall onedl-mmcv
	@$(BIN)/python tools/doctor.py

clean:
	rm -rf $(VENV) data/toy work_dirs/demo work_dirs/benchmark/toy build docs/_build *.egg-info
