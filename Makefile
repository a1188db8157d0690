# Thin aliases of `python scripts/<name>.py`, which work on Windows and macOS too.
PYTHON ?= python3
DIR ?=
ARGS ?=

.PHONY: host demo test check fix golden bench quality convert train-demo

host:
	$(PYTHON) scripts/host.py $(ARGS)

demo:
	$(PYTHON) scripts/demo.py $(ARGS)

test:
	$(PYTHON) scripts/test.py $(ARGS)

check:
	$(PYTHON) scripts/check.py $(ARGS)

fix:
	$(PYTHON) scripts/fix.py $(ARGS)

golden:
	$(PYTHON) scripts/golden.py $(DIR) $(ARGS)

bench:
	$(PYTHON) scripts/bench.py $(ARGS)

quality:
	$(PYTHON) scripts/bench.py quality $(ARGS)

convert:
	$(PYTHON) scripts/convert.py $(ARGS)

train-demo:
	$(PYTHON) scripts/train_demo.py $(ARGS)
