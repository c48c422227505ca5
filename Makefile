# make repro               install, run the small studies, say how long each stage took and where the paper is
# make study STUDY=smoke   another study (studies/<name>/params.yaml)
# make pages STUDY=full    claims, figures, overview and paper of a study again, from its tables
# make remote DIR=...      where `dvc push` and `dvc pull` keep activations and dictionaries: a folder, s3://..., ssh://...
# make test | bench        the tests; speed against other libraries
# make test-ci             those too that take as long as a hundred others (marker `slow`): what continuous integration runs
# make test-full           the tests that take longer (marker `full`); the last result is results/benchmarks/test_full.md
# make bench-gpu [WHEELS=DIR]  speed on a GPU, where nothing need be installed but PyTorch
# make peers               the environment with other libraries, for `make bench` and for the tests that read their files
# make docs                the documentation, in docs/_build/html; every code cell of it runs
# make check               ruff, pyright, TypeScript on the explorer's scripts and the documentation, as continuous
#                          integration runs them
# make lock [UPGRADE=1]    requirements.txt from the extras in pyproject.toml
PYTHON ?= python3.11
VENV := .venv
INSTALLED := $(VENV)/.installed
ACTIVE := PATH="$(CURDIR)/$(VENV)/bin:$$PATH"

.PHONY: repro study full pages remote test test-ci test-full bench bench-gpu peers docs scripts check lock
.DELETE_ON_ERROR:

# In the activations that the first extracts, so after it.
SMALL := quick-headroom quick-rivals

repro: $(INSTALLED) scm
	$(ACTIVE) dvc repro
	$(ACTIVE) dvc repro $(SMALL:%=studies/%/dvc.yaml)
	@for study in $(SMALL) quick; do $(ACTIVE) python -m lens times --study $$study; done

study: $(INSTALLED) scm
	@test -f "studies/$(STUDY)/dvc.yaml" || { echo "usage: make study STUDY=<name>, one of:" $(notdir $(wildcard studies/*)); exit 2; }
	$(ACTIVE) dvc repro studies/$(STUDY)/dvc.yaml
	$(ACTIVE) python -m lens times --study $(STUDY)

full: STUDY := full
full: study

pages: PIPELINE := $(if $(filter quick,$(STUDY)),,studies/$(STUDY)/)dvc.yaml
pages: $(INSTALLED) scm
	@test -n "$(STUDY)" -a -f "$(PIPELINE)" || { echo "usage: make pages STUDY=<name>, one of:" quick $(notdir $(wildcard studies/*)); exit 2; }
	$(ACTIVE) dvc repro --force --single-item $(addprefix $(PIPELINE):,claims figures overview paper)

remote: $(INSTALLED) scm
	@test -n "$(DIR)" || { echo "usage: make remote DIR=<folder, s3://bucket/folder or ssh://host/folder>"; exit 2; }
	$(ACTIVE) dvc remote add --default --force store "$(DIR)"

# One thread per process: two processes with a pool of threads each would wait for each other.
PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder

test: $(INSTALLED)
	$(ACTIVE) OMP_NUM_THREADS=1 python -m pytest $(PARALLEL)

test-ci: $(INSTALLED)
	$(ACTIVE) OMP_NUM_THREADS=1 python -m pytest -m "not full" $(PARALLEL)

test-full: $(INSTALLED)
	$(ACTIVE) OMP_NUM_THREADS=1 python scripts/full_tests.py $(PARALLEL)

bench: $(INSTALLED)
	$(ACTIVE) python -m benchmarks.run

bench-gpu:
	$(or $(wildcard $(VENV)/bin/python),$(PYTHON)) -m benchmarks.gpu $(if $(WHEELS),--wheels "$(WHEELS)")

peers: $(INSTALLED)
	$(ACTIVE) python -m benchmarks.environment

docs: $(INSTALLED)
	$(ACTIVE) OMP_NUM_THREADS=1 python -m sphinx --fail-on-warning --fresh-env --quiet docs docs/_build/html

# What checks the explorer's scripts and pages comes from npm; the explorer itself needs neither.
PAGE := tests/explorer
scripts:
	@command -v npm >/dev/null || { echo "NOT CHECKED: the explorer's scripts, which needs npm (apt-get install npm)" >&2; exit 0; }; \
	$(MAKE) --silent --no-print-directory $(PAGE)/node_modules/.package-lock.json || \
	{ echo "NOT CHECKED: the explorer's scripts: npm could not fetch TypeScript (npm ci --prefix $(PAGE) says why)" >&2; exit 0; }; \
	$(PAGE)/node_modules/.bin/tsc -p $(PAGE)

$(PAGE)/node_modules/.package-lock.json: $(PAGE)/package-lock.json
	npm ci --prefix $(PAGE) --ignore-scripts --no-audit --no-fund --silent --fetch-retries 1 --fetch-retry-maxtimeout 5000
	@touch $@

check: $(INSTALLED)
	$(ACTIVE) ruff check .
	$(ACTIVE) ruff format --check lens paper tests benchmarks scripts
	$(ACTIVE) pyright
	$(MAKE) scripts
	$(MAKE) docs

lock: $(INSTALLED)
	$(ACTIVE) python scripts/lock.py $(if $(UPGRADE),--upgrade)

# An archive of the project has no .git folder; DVC then has to be told not to look for one.
.PHONY: scm
scm: $(INSTALLED)
	@if [ -e .git ]; then $(ACTIVE) dvc config --local --quiet --unset core.no_scm 2>/dev/null || true; \
	else $(ACTIVE) dvc config --local --quiet core.no_scm true; fi

$(INSTALLED): requirements.txt requirements-no-deps.txt
	@test -x $(VENV)/bin/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	{ echo "error: '$(PYTHON)' is not Python 3.11 or later; install it, or name one: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(VENV)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --requirement requirements.txt
	$(VENV)/bin/python -m pip install --quiet --no-deps --requirement requirements-no-deps.txt
	@# `import lens` works in a Jupyter started anywhere
	@$(VENV)/bin/python -c 'import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), "temporallens.pth").write_text("$(CURDIR)\n")'
	@touch $@
