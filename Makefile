# make demo   makes talking-head clips, extracts landmarks, trains a tiny reader, and reads new clips
# make test   runs the tests; make test-all runs the slow ones too, and transformers' own, which it fetches
# make test-newest   runs the tests with the newest release of everything, in .venv-newest
# make browser   installs Chromium, without which the tests of the page are skipped (Debian and Ubuntu, as root)
# make lint   checks the style
# make docs-check   runs every command of the documents, or parses it where it cannot run; about 15 minutes
# All but browser create .venv first. PYTHON names another interpreter (3.11 to 3.13).
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
EXTRAS := '.[app,phrases,train,talker,dev]'
PYTEST := -m pytest -q --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM := false

CHROMIUM := chromium chromium-browser google-chrome google-chrome-stable
APT := apt-get install --yes --quiet=2 --no-install-recommends chromium fonts-dejavu-core

.PHONY: demo test test-all test-newest browser lint docs-check clean

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable $(EXTRAS)
	touch $@

demo: $(VENV)/.installed
	$(RUN) -m data.talker --output demo/clips --num_clips 320 --num_test 24 --num_proc 2
	$(RUN) -m data.prepare demo/clips/train.jsonl demo/clips/test.jsonl --output demo/corpus --num_proc 2
	$(VENV)/bin/accelerate launch --cpu --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \
		train_hf.py --config configs/talker_tiny.yaml --dataset demo/corpus --output_dir demo/reader
	$(VENV)/bin/lipread overlay "$$(ls demo/clips/video/test*.mp4 | head -n 1)" --model demo/reader --output demo/overlay.mp4
	$(RUN) evaluate_hf.py demo/reader demo/corpus/test --show 24

test: $(VENV)/.installed
	$(RUN) $(PYTEST)

test-all: $(VENV)/.installed
	$(RUN) -m tests.helpers.transformers_tests
	$(RUN) $(PYTEST) -m ""

test-newest:
	$(PYTHON) -m venv .venv-newest
	.venv-newest/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager --editable $(EXTRAS) ray
	.venv-newest/bin/python $(PYTEST)

browser:
	@which $(CHROMIUM) | grep --quiet . || { apt-get update --quiet=2 && $(APT); } \
		|| echo "No Chromium, and apt-get could not install it: the page's tests will be skipped"

lint: $(VENV)/.installed
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

docs-check: $(VENV)/.installed
	$(RUN) -m docs.check

clean:
	rm -rf $(VENV) .venv-newest .cache demo build *.egg-info
