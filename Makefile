# `make` prints what there is. Override: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
BASE := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
PIP := $(RUN) -m pip install -qq --disable-pip-version-check --no-input --constraint constraints.txt
# The engines that the benchmarks compare with, apart from the product's environment.
PEERS_VENV := .venv-peers
PEERS_RUN := $(PEERS_VENV)/bin/python
PEERS := $(PEERS_VENV)/.installed
# What an installation is made of; a newer one of these installs again.
INSTALLED_FROM := pyproject.toml setup.py constraints.txt $(wildcard kernels/*/*.c kernels/*/*.h kernels/*.h)

# Two processes: a file's tests stay together, since they share servers.
IN_PARALLEL := --numprocesses 2 --dist loadfile

# Read by the recipes as "$$DATA", so that a path may hold spaces and quotes.
export DATA MINUTES ARGS

# The GPU host needs PyTorch, Triton and NumPy only, and no installation of ours.
GPU_PYTHON ?= python3

.PHONY: help demo test gpu chaos browser bench-accuracy bench-serving bench-scheduler bench-shared bench-state bench-forest bench-rules bench-net bench-net-kernels bench-fuse bench-sparse bench-device-time lint clean
.NOTPARALLEL:
.DEFAULT_GOAL := help

help:
	@echo 'make demo [DATA=file.parquet|file.csv] [MINUTES=n]  install, train, score a stream, show the dashboard'
	@echo 'make test [ARGS="-k name"]                          the whole suite, on SQLite and on PostgreSQL'
	@echo 'make bench-accuracy DATA=file.parquet               accuracy on the Handbook data beside the published table'
	@echo 'make bench-serving [ARGS=--full]                    transactions/s and latency beside a plain stack'
	@echo 'make bench-scheduler [ARGS=...]                      the scheduler beside other policies, simulated on measured costs'
	@echo 'make bench-shared [ARGS=...]                         two engine processes that share their state, beside one'
	@echo 'make bench-state [ARGS=...]                          how long a start takes, with and without the state file'
	@echo 'make chaos [FAULTS=n] [ARGS="--seed s"]              kill, pause and cut off everything under load; then read all back'
	@echo 'make bench-forest [ARGS=--full]                     one row and batches on the CPU beside other engines (10 min)'
	@echo 'make bench-rules [ARGS=...]                         rules, and rules with a forest, beside other engines'
	@echo 'make bench-net DATA=file.parquet                     forest and net beside the forest alone, pruned and in bytes'
	@echo 'make bench-net-kernels [ARGS=...]                    the net in bytes beside PyTorch and ONNX Runtime'
	@echo 'make bench-sparse [ARGS=...]                         sparse layers for single rows beside dense ones'
	@echo 'make bench-fuse [ARGS=...]                           @deepseek_fuse beside torch.compile'
	@echo 'make bench-device-time [ARGS=...]                    device time a million decisions beside PyTorch and XGBoost'
	@echo 'make gpu [ARGS="--out file.json"]                     on a GPU host: kernels against references, then the benchmark'
	@echo 'make lint                                           ruff, and models without a migration'
	@echo 'make clean                                          remove the installation and build products; var/ stays'

demo: $(BASE)
	@$(RUN) -m riskapp.demo $(if $(DATA),--data "$$DATA") $(if $(MINUTES),--minutes "$$MINUTES")

test: $(DEV) browser
	$(RUN) -m pytest $(IN_PARALLEL) $(ARGS)
	@# 5 is "no test collected", which is right when ARGS names tests that run on one database only.
	TEST_DATABASE=postgres $(RUN) -m pytest $(IN_PARALLEL) -m any_database $(ARGS) || [ $$? = 5 -a -n "$$ARGS" ]

bench-accuracy: $(DEV)
	@$(if $(DATA),,echo 'usage: make bench-accuracy DATA=path/to/handbook_raw.parquet' >&2; exit 2)
	@$(RUN) -m tests.benchmarks.accuracy --data "$$DATA"

bench-serving: $(DEV)
	@$(RUN) -m tests.benchmarks.serving $(ARGS)

bench-scheduler: $(DEV)
	@$(RUN) -m tests.benchmarks.scheduler $(ARGS)

bench-shared: $(DEV)
	@$(RUN) -m tests.benchmarks.shared_state $(ARGS)

bench-state: $(DEV)
	@$(RUN) -m tests.benchmarks.feature_state_start $(ARGS)

chaos: $(DEV)
	@$(RUN) -m tests.chaos --faults $(or $(FAULTS),2000) $(ARGS)

bench-forest: $(PEERS)
	@$(PEERS_RUN) -m tests.benchmarks.forest $(ARGS)

bench-rules: $(PEERS)
	@$(PEERS_RUN) -m tests.benchmarks.rules $(ARGS)

bench-net: $(DEV)
	@$(if $(DATA),,echo 'usage: make bench-net DATA=path/to/handbook_raw.parquet' >&2; exit 2)
	@$(RUN) -m tests.benchmarks.net --data "$$DATA" $(ARGS)

bench-net-kernels: $(DEV)
	@$(RUN) -m tests.benchmarks.net_kernels $(ARGS)

bench-sparse: $(DEV)
	@$(RUN) -m tests.benchmarks.sparse $(ARGS)

bench-fuse: $(DEV)
	@$(RUN) -m tests.benchmarks.fuse $(ARGS)

bench-device-time: $(DEV)
	@$(RUN) -m tests.benchmarks.device_time $(ARGS)

gpu:
	@$(GPU_PYTHON) -m tests.gpu.run $(ARGS)

lint: $(DEV)
	$(RUN) -m ruff check .
	$(RUN) manage.py makemigrations --check --dry-run

clean:
	rm -rf $(VENV) $(PEERS_VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis kernels/_native*.so
	find riskapp inference_core kernels scoring admin_ui tests -name __pycache__ -prune -exec rm -rf {} +

$(BASE): $(INSTALLED_FROM)
	@$(call make_venv)
	@echo 'Installing (the first time takes some minutes) ...'
	@$(PIP) --editable .
	@touch $@

$(DEV): $(INSTALLED_FROM)
	@$(call make_venv)
	@echo 'Installing with what the tests need (the first time takes some minutes) ...'
	@$(PIP) --editable '.[dev]'
	@touch $(BASE) $@

# A peer that does not install is reported by the benchmarks; the project itself must.
$(PEERS): VENV := $(PEERS_VENV)
$(PEERS): tests/benchmarks/peers.txt tests/benchmarks/peers.py $(INSTALLED_FROM)
	@$(call make_venv)
	@echo '*' >$(PEERS_VENV)/.gitignore
	@echo 'Installing the other engines (the first time takes a minute) ...'
	@$(PEERS_RUN) tests/benchmarks/peers.py
	@$(PEERS_RUN) -m pip install -qq --disable-pip-version-check --no-input --no-deps --editable .
	@touch $@

# Repeated before each installation: harmless where it exists, and it mends one that was cut off.
define make_venv
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
  "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")' && \
  $(PYTHON) -m venv $(VENV)
endef

# Debian's packages, where this user may install them. Under CI a missing browser fails the tests that need it.
browser:
	@if command -v chromium >/dev/null 2>&1 && command -v chromedriver >/dev/null 2>&1; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	  echo 'Installing chromium and chromium-driver ...'; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  if { apt-get update && apt-get install --yes --no-install-recommends -o DPkg::Lock::Timeout=300 \
	    chromium chromium-driver; } >$(VENV)/apt.log 2>&1; then exit 0; fi; \
	  tail -n 20 $(VENV)/apt.log; \
	fi; \
	echo 'No chromium and chromium-driver: the tests marked "browser" are skipped (see the end of the run).'
