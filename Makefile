# Everything that a person or CI runs. Needs Python 3.11 or newer and make; the rest is installed into .venv.

.DEFAULT_GOAL := help
.PHONY: help setup services demo ring service test check matrix bench bench-training bench-serving soak damage figures docs pictures clean
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
BIN := $(CURDIR)/.venv/bin
READY := .venv/.installed
DOCS_READY := .venv/.docs-installed

# shells set LANG too, so only its value on the command line of make counts
ifeq ($(origin LANG)-$(LANG),command line-zh)
DEMO_DATA := Articles of 15 Chinese laws
DEMO := law_zh law-zh "酒后驾驶机动车怎么处罚？" "单位没有按规定配备灭火器" "我的商标被别人抢先注册了怎么办"
else
DEMO_DATA := 77 bank intents
DEMO := bank_support bank-support "I still have not received my new card, I ordered over a week ago." "The machine kept my card" \
	"Why did you charge me for a transfer to Poland?" "My card has not arrived"
endif

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(READY)  ## Create .venv and install vertune with everything that its tests need

services:  ## Install PostgreSQL, promtool and Chromium from Debian's packages; tests that need them are skipped without
	@echo "==> Installing PostgreSQL, Prometheus and Chromium (needs root)"
	@DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet postgresql prometheus chromium chromium-driver

# torch comes first and pinned: asked for exactly, pip takes the CPU build; a range would bring gigabytes of CUDA packages.
$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "vertune needs Python 3.11 or newer, and none was found. Name one: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "==> Creating .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv || { echo "No virtual environment could be made. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "==> Installing torch as constraints.txt pins it (CPU build)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r constraints.txt
	@echo "==> Installing vertune with its optional parts and its tests (a few minutes, once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
	@echo "==> Installed. To use it in this shell: . .venv/bin/activate"

demo: $(READY)  ## Data to a model that answers over HTTP, on a CPU, in minutes; make demo LANG=zh shows a Chinese vertical
	@echo "==> $(DEMO_DATA) to a model that answers: prepare, train, evaluate, predict, serve"
	@PATH="$(BIN):$$PATH" bash examples/demo.sh $(DEMO)

ring: $(READY)  ## A live model meets new questions, is told, learns, goes live again, and refuses poison (about five minutes)
	@echo "==> Sending a stream of bank messages to a server that watches its model"
	@$(BIN)/python examples/ring.py

service: $(READY)  ## A pack to a customer service that chats, measured before it answers (under four minutes)
	@echo "==> The pack shop_zh to a chat: train, learn when to answer, evaluate, serve"
	@PATH="$(BIN):$$PATH" bash examples/service.sh shop shop_zh

# each child process would compile all that it imports again, and each run the tests, if bytecode were not written
test: $(READY)  ## Run the default tests, with sockets to the outside blocked
	@echo "==> Running the default tests (three processes, no network)"
	@env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m pytest

check: $(READY)  ## Lint, format, types, layers, README's twin, figures and links
	@echo "==> ruff";           $(BIN)/ruff check; $(BIN)/ruff format --check
	@echo "==> mypy";           $(BIN)/mypy
	@echo "==> import-linter";  $(BIN)/lint-imports --no-cache
	@echo "==> README";         $(BIN)/python benchmarks/figures.py --check; $(BIN)/python -m pytest -n 0 tests/test_readme.py

matrix: $(READY)  ## Run the full product of methods, tasks and families (long)
	@echo "==> Running the full matrix of methods, tasks and families"
	@env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m pytest -m matrix

bench: $(READY)  ## Measure every row of the accuracy table (hours), then write it into docs/benchmarks.md
	@echo "==> Measuring; finished rows are kept and not measured again"
	@$(BIN)/python benchmarks/accuracy.py --all
	@$(MAKE) --no-print-directory figures

bench-training: $(READY)  ## Measure the speed of training beside its peers (a quarter of an hour), then write it into docs/benchmarks.md
	@$(BIN)/python benchmarks/training.py
	@$(MAKE) --no-print-directory figures

bench-serving: $(READY)  ## Measure the server beside its peers (half an hour), then write it into docs/benchmarks.md
	@$(BIN)/python benchmarks/serving.py
	@$(MAKE) --no-print-directory figures

soak: $(READY)  ## Faults, kills, full disks, lost databases, set clocks, replaced models, a million requests (two hours)
	@$(BIN)/python benchmarks/soak.py
	@$(BIN)/python benchmarks/customers.py
	@$(BIN)/python benchmarks/trouble.py
	@$(BIN)/python benchmarks/rolling.py
	@$(BIN)/python benchmarks/enduring.py
	@$(BIN)/python benchmarks/killing.py

damage: $(READY)  ## Damage every file of a home in ten ways, then write it into docs/benchmarks.md (half an hour)
	@$(BIN)/python benchmarks/damage.py
	@$(MAKE) --no-print-directory figures

figures: $(READY)  ## Write the measured figures into README, its twin and docs/benchmarks.md
	@$(BIN)/python benchmarks/figures.py

$(DOCS_READY): $(READY)
	@echo "==> Installing what the documentation site needs"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

docs: $(DOCS_READY)  ## Build the documentation site into docs/_built/site; it opens without a network
	@$(BIN)/python docs/build.py

pictures: $(READY)  ## Make the pictures of README again from a run in WORK=folder (needs Chromium)
	@PATH="$(BIN):$$PATH" $(BIN)/python docs/pictures.py $(WORK)

clean:  ## Remove .venv, caches and built pages; artifacts and results stay
	rm -rf .venv build dist docs/_built benchmarks/.work .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests benchmarks docs examples -name __pycache__ -type d -prune -exec rm -rf {} +
