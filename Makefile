# make demo   a fresh clone reads lips: talking-head clips, landmarks, training, transcripts, word error rate
# make test   a fresh clone passes its tests
# make lint   style
# Each sets itself up in .venv; PYTHON names another interpreter (3.10 to 3.13).
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test lint clean

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,talker,dev]'
	touch $@

demo: $(VENV)/.installed
	$(RUN) -m data.demo --output demo

test: $(VENV)/.installed
	$(RUN) -m pytest -q

lint: $(VENV)/.installed
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

clean:
	rm -rf $(VENV) demo build *.egg-info
