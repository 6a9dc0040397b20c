# One vocabulary for people and CI. `make` alone lists it.
.DEFAULT_GOAL := help
SHELL := /bin/sh

# Without byte code every start of a component takes four times as long.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPATH := $(CURDIR)
# Telemetry and version look-ups of the stack's packages: off, here and in everything started from here.
export DO_NOT_TRACK := 1
export GX_ANALYTICS_ENABLED := false
export MLFLOW_DISABLE_TELEMETRY := true
export BENTOML_DO_NOT_TRACK := true
export MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR := false

PY := .venv/bin/python
STACK := $(PY) -m scripts.stack

.PHONY: help setup setup-dev demo up down status logs airflow test test-slow check lock screenshots why alerts alert-test reproduce runbooks bench-gate bench-monitor serve bench-serving bench-scoring bench-rollouts bench-replay bench-window bench-console clean

help: ## this list
	@echo "Ratchet: make <target>"
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## make .venv and install requirements.txt (PYTHON=… chooses the interpreter)
	@scripts/setup.sh requirements.txt

setup-dev: ## the same with what tests and checks need
	@scripts/setup.sh requirements-dev.txt

demo: setup ## start everything and run the story: ingest, train, gate, monitor, a retrain, releases
	@RATCHET_LOOK_SECONDS=$${RATCHET_LOOK_SECONDS:-10} $(PY) -m scripts.demo

up: setup ## start Airflow, MLflow, the service and Evidently on 127.0.0.1 (RATCHET_PORT, _MLFLOW_PORT, _SERVICE_PORT, _EVIDENTLY_PORT)
	@$(STACK) up

down: ## stop what `make up` or `make demo` started
	@$(STACK) down

status: ## what runs, and where
	@$(STACK) status || true

logs: ## last lines of the logs, then follow (NAME=scheduler for one, FOLLOW=0 to return)
	@$(STACK) logs $(NAME) $(if $(filter 0,$(FOLLOW)),--no-follow)

airflow: ## the airflow command in the stack's environment: make airflow ARGS="dags list"
	@$(STACK) exec airflow $(ARGS)

test: setup-dev check ## ruff, mypy and the tests (without the slow ones)
	@# in the order of the folders: the longest tests come early, and no worker ends with one of them alone
	@$(PY) -m pytest -n 2 --dist loadgroup --no-loadscope-reorder -m "not slow" $(ARGS)

test-slow: setup-dev ## the long tests: the whole stack, this demo twice, releases and scoring killed at every write
	@$(PY) -m pytest -m slow $(ARGS)

check: setup-dev ## ruff and mypy
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

lock: setup ## compile requirements*.txt anew from requirements*.in (needs the package index)
	@$(PY) -m uv pip compile --quiet --universal --python-version 3.11 --override overrides.txt $(ARGS) \
		--custom-compile-command "make lock" --no-emit-index-url requirements.in -o requirements.txt
	@$(PY) -m uv pip compile --quiet --universal --python-version 3.11 --override overrides.txt $(ARGS) \
		--custom-compile-command "make lock" --no-emit-index-url requirements-dev.in -o requirements-dev.txt

screenshots: setup-dev ## pictures of the running stack into docs/img (needs Chromium)
	@$(PY) -m scripts.screenshots $(ARGS)

why: setup ## where a model version comes from: make why VERSION=1; what was live when: make why AT=2026-11-21T10:00Z
	@$(STACK) exec python -m scripts.why $(if $(VERSION),'$(VERSION)') $(if $(AT),--at '$(AT)')

alerts: setup ## what is open; make alert-test sends a test through every channel
	@$(STACK) exec python -m scripts.alerts

alert-test: setup ## a test alert through every channel, and which of them took it
	@$(STACK) exec python -m scripts.alerts --test

reproduce: setup ## train a model version again from its manifest: make reproduce VERSION=1
	@$(STACK) exec python -m scripts.reproduce $(VERSION)

runbooks: setup ## docs/runbooks from the DAGs' docstrings
	@$(PY) -m scripts.runbooks

bench-monitor: setup ## how often the monitor errs on planted faults, sound weeks and a stable replay
	@$(PY) -m bench.bench_monitor $(ARGS)

serve: setup ## the prediction service of this installation alone, in the foreground (RATCHET_SERVICE_PORT)
	@$(STACK) serve

bench-gate: setup ## how often the gate errs on planted cases (takes a while)
	@$(PY) -m bench.bench_gate

bench-serving: setup ## requests a second of the service and of the usual ways to serve, side by side
	@$(PY) -m bench.bench_serving $(ARGS)

bench-scoring: setup ## rows a second and memory of batch scoring against one bare loop
	@$(PY) -m bench.bench_scoring $(ARGS)

bench-rollouts: setup ## how often the rollout errs on planted releases
	@$(PY) -m bench.bench_rollouts $(ARGS)

bench-replay: setup ## does retraining pay: policies of a year, side by side, and what faults cost (40 minutes)
	@$(PY) -m bench.bench_replay $(ARGS)

bench-window: setup ## seconds and memory of the monitor's look at ten million predictions
	@$(PY) -m bench.bench_window $(ARGS)

bench-console: setup ## how fast the console answers: 1 and 50 models, a month and a year of decisions
	@$(PY) -m bench.bench_console $(ARGS)

clean: ## stop everything and delete var/ (all data of this installation)
	@[ ! -x $(PY) ] || $(STACK) down
	@rm -rf var
