# Needs Python 3.11+ with venv, a C compiler, and nothing else; everything goes into .venv.
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
ARGS   ?= --nodes 12 --kill 2
# A worker for each core; make test WORKERS=0 runs all tests in one process.
WORKERS ?= auto
JUNK   := build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks

SOURCES := $(wildcard routing/*.pyx routing/*.pxd)
# The rooms as the setup script lists them, so that stubtest checks each one.
ROOMS   = $(shell sed -n '/^NAMES = (/,/^)/s/^ *"\([a-z_]*\)",$$/routing.\1/p' setup.py)

.PHONY: build network test lint bench ratios loopback bench-plot stalled idle handshake soak wheel sanitize clean
.DELETE_ON_ERROR:

build: $(VENV)/.built

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "make: $(PYTHON) is older than 3.11; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	    { echo "make: $(PYTHON) cannot create virtual environments; install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml tools/requirements.py | $(VENV)/bin/python
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) tools/requirements.py build cli test lint > $(VENV)/requirements.txt
	$(PY) -m pip install --quiet -r $(VENV)/requirements.txt
	@touch $@

$(VENV)/.built: $(VENV)/.installed setup.py $(SOURCES)
	@command -v $${CC:-cc} >/dev/null || { echo "make: no C compiler; install gcc" >&2; exit 1; }
	$(PY) setup.py --quiet build_ext --inplace
	@touch $@

network: build
	@$(PY) -m routing network $(ARGS)

test: build
	$(PY) -m pytest -n $(WORKERS) --dist worksteal $(TEST_ARGS)

lint: build
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cython-lint $(SOURCES) bench/_calls.pyx
	$(PY) -m mypy
	$(PY) -m mypy.stubtest --ignore-unused-allowlist --allowlist tests/typing/stubtest.allow \
	    --mypy-config-file pyproject.toml $(ROOMS)

# The benchmarks call the rooms from Python and, by a room of their own, from C.
BENCH_JSON := build/bench.json
$(VENV)/.bench: $(VENV)/.built bench/_calls.pyx
	ROUTING_BENCH=1 $(PY) setup.py --quiet build_ext --inplace
	@touch $@

bench: $(VENV)/.bench
	$(PY) -m pytest bench --benchmark-enable --benchmark-only --benchmark-disable-gc \
	    --benchmark-group-by=group --benchmark-columns=min,median,rounds --timeout=600 \
	    --benchmark-json=$(BENCH_JSON) $(BENCH_ARGS)
	$(PY) -m bench.table $(BENCH_JSON)

# Everybody in turn, so that the ratios hold; RATIOS_ARGS=--full takes minutes, --check compares
# with the committed ones, --write makes them.
ratios: $(VENV)/.bench
	$(PY) -m bench.ratios $(RATIOS_ARGS)

# Two processes over loopback beside C, uvloop, ZeroMQ and others; LOOPBACK_ARGS="--runs 1 --sizes 64".
# Some need a Python of their own: python -m venv X; X/bin/pip install -r bench/peers.txt; then
# LOOPBACK_ARGS="--peers X/bin/python --write". bench-plot draws what --write has left.
loopback: $(VENV)/.bench
	$(PY) tools/requirements.py peers > $(VENV)/peers.txt
	$(PY) -m pip install --quiet -r $(VENV)/peers.txt || echo "make: not all peers can be installed here" >&2
	$(PY) -m bench.loopback $(LOOPBACK_ARGS)

bench-plot: build
	$(PY) -m bench.loopback_plot $(PLOT_ARGS)

# Memory and queues while a reader stands still, measured and drawn; STALLED_ARGS="--seconds 2".
stalled: build
	$(PY) -m bench.standstill $(STALLED_ARGS)

# What connections cost: IDLE_ARGS="--connections 1000", HANDSHAKE_ARGS="--libp2p PYTHON".
idle: build
	$(PY) -m bench.idle $(IDLE_ARGS)

handshake: build
	$(PY) -m bench.handshake $(HANDSHAKE_ARGS)

# All scenarios that come with the package in turn, swarms of faults three times as often. Every
# run is judged by the healing bound; together they must reach all probes.
SCENARIOS := swarm swarm $(sort $(basename $(notdir $(wildcard routing/simulation/library/*.toml))))
SIMULATE  := $(PY) -m routing simulate sweep $(SCENARIOS) --probes --again 0.02
simulate: build
	$(SIMULATE) --seeds 0:204 --node-hours 300 $(SIMULATE_ARGS)

# More than 400,000 states of two cores that connect; 20,000 node-hours of scenarios; delivery in
# 10,000 simulated nodes, then under churn of 1,000 for long, a JSON object each.
FIGURES := $(PY) -m routing.simulation.figures
EXPLORE := $(PY) -m routing simulate explore
soak: build
	$(EXPLORE) --jobs 2
	$(EXPLORE) --scenario crossing --duplicates 1 --expiries 1 --losses 0 --failed-dials 0
	$(EXPLORE) --scenario crossing --losses 1 --expiries 1 --duplicates 0 --failed-dials 0
	$(EXPLORE) --scenario kept --scenario fresh --losses 1 --jobs 2
	$(EXPLORE) --scenario breaks --losses 1 --duplicates 1
	$(SIMULATE) --seeds 0:1800 --quiet-s 3600 --node-hours 20000
	$(FIGURES) static --nodes 12 40 100 1000 10000 --per-bucket 8 $(SOAK_ARGS)
	$(FIGURES) restart --nodes 12 40 100 --times 1000 $(SOAK_ARGS)
	$(FIGURES) churn --nodes 1000 --median 744 --seconds 600 $(SOAK_ARGS)
	$(FIGURES) churn --nodes 1000 --median 84 --seconds 300 $(SOAK_ARGS)

wheel: build
	rm -rf dist build/lib* build/bdist*
	$(PY) -m pip wheel --quiet --no-deps --wheel-dir dist .
	$(PY) -c 'from setuptools.build_meta import build_sdist; build_sdist("dist")' >/dev/null
	@ls -l dist

# The instrumented rooms live in a tree of their own, so that the ordinary ones stay as they are.
SANITIZED := build/sanitize
sanitize: build
	rm -rf $(SANITIZED)/tree
	mkdir -p $(SANITIZED)/tree
	ROUTING_SANITIZE=1 $(PY) setup.py --quiet build --build-base $(SANITIZED)/base \
	    --build-lib $(SANITIZED)/tree
	cp -r tests pyproject.toml setup.py $(SANITIZED)/tree/
	cd $(SANITIZED)/tree && \
	    LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	    ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc \
	    ROUTING_EXPECT_SANITIZED=1 \
	    $(CURDIR)/$(PY) -m pytest -n $(WORKERS) --dist worksteal -p no:cacheprovider --timeout=300 \
	    $$(cd $(CURDIR) && sed -n 's/^\([^#].*\)/\1/p' tests/sanitized.txt) $(TEST_ARGS)

clean:
	rm -rf $(JUNK) routing/*.so bench/*.so $(VENV)/.built $(VENV)/.bench
	find routing tests bench tools -name __pycache__ -prune -exec rm -rf {} +
