# On a machine with only Python >= 3.11 and make: `make demo`, `make test`.
PYTHON ?= python3
VENV := .venv
ifeq ($(OS),Windows_NT)
PY := $(VENV)/Scripts/python
else
PY := $(VENV)/bin/python
endif

# What a target needs is taken from a larger environment where there is one.
TESTS := $(firstword $(wildcard $(VENV)/.installed-dev) $(VENV)/.installed-test)
BASE := $(firstword $(wildcard $(TESTS)) $(VENV)/.installed)

.NOTPARALLEL:
.PHONY: help demo test test-all adapters lint types wheel installs docs figures bench hostile andreoli2023 mccaughan2023 oripov2025 skalli2025 clean claims look notebooks prose

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /  make \1\t/p' Makefile

demo: $(BASE) ## install dither and train the demonstration
	$(PY) examples/demo.py

test: $(TESTS) ## install what the tests need and run them
	$(PY) -m pytest

test-all: $(VENV)/.installed-adapters ## run also the tests marked long: over an hour on a new machine
	$(PY) -m pytest -m ""

adapters: $(VENV)/.installed-adapters ## install what every check uses, and what adapters are tested with: 1 GB

lint: $(VENV)/.installed-dev ## check style and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(dir $(PY))zizmor --offline --quiet .github
	$(PY) -m check_jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(PY) -m check_jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[bm]*.yml
	$(PY) -m check_jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

types: $(VENV)/.installed-dev ## check types
	$(PY) -m mypy

wheel: $(VENV)/.installed-dev ## build the wheel and try it outside the checkout
	$(PY) .ci/install.py

installs: $(VENV)/.installed-dev ## also each extra alone, the lowest versions, other Pythons: half an hour
	$(PY) .ci/install.py --extras --pythons $(or $(PYTHONS),3.11 3.12 3.13)

docs: export NO_MKDOCS_2_WARNING = 1
docs: prose ## check the prose and build the documentation into site/
	$(PY) -m mkdocs build --strict

look: docs ## look at every page of site/ in Chromium: width on a phone, console, images, search
	$(PY) docs/look.py site

notebooks: $(VENV)/.installed-dev ## run the documentation's notebooks again and keep what they show
	$(PY) -m nbconvert --to notebook --execute --inplace --ExecutePreprocessor.record_timing=False docs/notebooks/*.ipynb

prose: export PATH := $(abspath $(dir $(PY)))$(if $(filter Windows_NT,$(OS)),;,:)$(PATH)
prose: prose/node_modules/.installed ## check the English of pages, docstrings and messages
	cd prose && npm run --silent lint

prose/node_modules/.installed: prose/package-lock.json | $(VENV)/.installed-dev
	cd prose && npm ci --silent --no-audit --no-fund
	@touch $@

figures: $(BASE) ## draw the documentation's figures again
	$(PY) docs/make_figures.py

claims: $(TESTS) ## run the quick claims again and compare; LONG=1 all, NAME=codes one
	$(PY) docs/claims.py $(if $(LONG),--long) $(NAME)

bench: $(BASE) ## measure speed beside others (pip install '.[bench]'): LINES=cnn CORES=2
	$(PY) benchmarks/bench --lines "$(LINES)" --cores $(or $(CORES),1)

hostile: $(TESTS) ## run the robustness tests, row by row: half an hour; ROWS="Bits Kills" for some
	$(PY) benchmarks/hostile $(ROWS)

andreoli2023: $(BASE) ## run the paper's figures again in full: forty minutes
	rm -rf build/andreoli2023
	$(PY) -m dither.cli paper andreoli2023 --out build/andreoli2023
	$(PY) docs/andreoli2023.py build/andreoli2023

mccaughan2023: $(BASE) ## the same of another paper
	rm -rf build/$@
	$(PY) -m dither.cli paper $@ --out build/$@
	$(PY) docs/paper_page.py $@ build/$@

oripov2025: $(BASE) ## and another: hours; goes on where it was
	$(PY) -m dither.cli paper $@ --out build/$@ $(if $(wildcard build/$@),--resume)
	$(PY) docs/paper_page.py $@ build/$@

skalli2025: $(BASE) ## and another: half an hour of one core; goes on where it was
	$(PY) -m dither.cli paper $@ --out build/$@ $(if $(wildcard build/$@),--resume)
	$(PY) docs/paper_page.py $@ build/$@

clean: ## remove the environment and what was built
	rm -rf $(VENV) site build dist prose/node_modules

# Each stamp is newer than the files that say what to install; a failed step leaves none.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit("dither needs Python 3.11 or newer: say which, as in make demo PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv --upgrade-deps $(VENV)
	@touch $@

$(VENV)/.installed: EXTRAS =
$(VENV)/.installed-test: EXTRAS = [test]
$(VENV)/.installed-dev: EXTRAS = [dev]
$(VENV)/.installed-adapters: EXTRAS = [dev,adapters-test]

$(VENV)/.installed $(VENV)/.installed-test $(VENV)/.installed-dev $(VENV)/.installed-adapters: pyproject.toml setup.py constraints.txt $(wildcard src/kernels/*) | $(VENV)/.made
	@echo "Installing dither$(EXTRAS) into $(VENV); this takes a minute or two."
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.$(EXTRAS)'
	@touch $(sort $@ $(if $(findstring dev,$(EXTRAS)),$(VENV)/.installed-dev))
