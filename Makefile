# Two commands matter: `make book` and `make test`. Each makes the environment first, where there is none.

VENV   := .venv
PY     ?= $(VENV)/bin/python
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# Notebooks at a time; two where nothing is said and there are as many cores.
AT_A_TIME = $(if $(JOBS),--jobs $(JOBS))
STAMP  := $(VENV)/.stamp
# `make book PY=python` uses the environment that is active (conda, say) and makes none.
ENV    := $(if $(filter $(VENV)/bin/python,$(PY)),$(STAMP))

# Linux takes large blocks of memory from the system anew at each use, and clears them: kept instead, pictures are drawn
# half as fast again on a processor.
export MALLOC_MMAP_THRESHOLD_ ?= 2000000000
export MALLOC_TRIM_THRESHOLD_ ?= 4000000000

.PHONY: help env book figures quick test browser lab bench fuzz experiments weights lint hooks lock clean
.DEFAULT_GOAL := help

help:
	@echo "make book      run every notebook, build the book; ends with the page to open"
	@echo "               PARAMS=\"-p device cuda -p seed 3\" passes parameters to the notebooks;"
	@echo "               PARAMS=--brief makes the book from fewer pictures; two notebooks run at a time,"
	@echo "               with JOBS=1 one: what they measure in seconds counts for more then;"
	@echo "               PARAMS=--publish keeps the pages on faces, for those who cannot get these"
	@echo "make quick     see that every notebook runs, on little; PARAMS=\"-p domain pets\" in another domain"
	@echo "make test      run the test suite                (ARGS=\"-k mapper\" to pick)"
	@echo "make browser   move what readers move, in the built book; needs Chromium"
	@echo "make lab       open the notebooks in JupyterLab"
	@echo "make figures   run every notebook again, changed or not; build no pages"
	@echo "make bench     measure what the README promises, into figures/ (ARGS=\"--only large\" for FFHQ's size,"
	@echo "               \"--only faces\" for real faces, \"--only widget\" for the live editor in a browser)"
	@echo "make fuzz      read thousands of damaged and malicious files, into figures/trust.json, for an hour or so"
	@echo "               (ARGS=\"--count 500 --formats card recipe\" for fewer)"
	@echo "make experiments   run what is not done of the full grid, for hours, into figures/experiments.csv"
	@echo "               (ARGS=\"--only loss space\" picks questions, \"--seeds 0 --jobs 1\" saves; it can be stopped)"
	@echo "make weights   train the models of every world    (WORLD=portraits to pick one)"
	@echo "make lint      ruff, and no notebook with outputs"
	@echo "make hooks     strip notebooks as they are committed, in this clone"
	@echo "make lock      write requirements.lock from the environment"
	@echo "make clean     remove what was built; the environment stays"

env: $(ENV)

$(STAMP): requirements.lock pyproject.toml
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "DeltaEdit needs Python 3.11 or newer; found: $$($(or $(PYTHON),python3) --version 2>&1)." \
		     "Install one, or name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(PY) -m pip install --disable-pip-version-check -r requirements.lock
	$(PY) -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

book: $(ENV)
	@$(PY) book/build.py $(AT_A_TIME) $(PARAMS)

figures: $(ENV)
	@$(PY) book/build.py --fresh --no-html $(AT_A_TIME) $(PARAMS)

quick: $(ENV)
	@$(PY) book/build.py --quick $(AT_A_TIME) $(PARAMS)

test: $(ENV)
	$(PY) -m pytest $(ARGS)

browser: $(ENV)
	$(PY) -m pytest tests/browser.py $(ARGS)

# Pictures of up to 256 MB can be opened in the live editor; else a server hangs up at 10.
lab: $(ENV)
	$(PY) -m jupyterlab --ServerApp.tornado_settings="{'websocket_max_message_size': 268435456}" notebooks

bench: $(ENV)
	$(PY) tests/bench.py $(ARGS)

fuzz: $(ENV)
	$(PY) tests/fuzz.py --write $(ARGS)

experiments: $(ENV)
	$(PY) book/experiments.py --table figures/experiments.csv $(ARGS)

weights: $(ENV)
	$(PY) -m deltaedit.worlds.train all $(if $(WORLD),--world $(WORLD))

lint: $(ENV)
	$(PY) -m ruff check .
	$(PY) -m nbstripout --keep-id --verify notebooks/*.ipynb

hooks: $(ENV)
	git config filter.nbstripout.clean "$(PY) -m nbstripout --keep-id"
	git config filter.nbstripout.smudge cat
	git config diff.ipynb.textconv "$(PY) -m nbstripout -t"

# From an environment of Python 3.11. What torch brings for a GPU differs by machine: pip picks it, no pin is kept.
lock: $(ENV)
	@{ sed -n '/^#/p' requirements.lock; \
	   { grep ' ; ' requirements.lock; \
	     $(PY) -m pip freeze --all --exclude-editable --exclude pip | grep -viE '^(nvidia|cuda|triton)' | sed 's/+.*//'; \
	   } | awk -F== '!seen[$$1]++' | LC_ALL=C sort -f; } > requirements.lock.tmp
	@mv requirements.lock.tmp requirements.lock
	@echo "requirements.lock: $$(grep -vc '^#' requirements.lock) pins"

clean:
	rm -rf _build .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
