# Everything a person does here, in one word each. The first call makes .venv; later calls install nothing.

PYTHON ?=
ARGS ?=
# Test files go to as many processes as there are cores, four at most. To see prints or use a debugger: ARGS='-n0 -s'.
SPREAD := -n logical --maxprocesses 4 --dist loadfile
export PYTHON
run := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help demo console test learn chaos shapes check fix bench docs install install-console install-dev

help:  ## show this list
	@echo "Quartermaster: train agents that allocate scarce things, prove them, put them to work."
	@echo
	@sed -n 's/^\([a-z]*\):.*## /  make \1@/p' Makefile | awk -F@ '{ printf "%-14s %s\n", $$1, $$2 }'
	@echo
	@echo "  Options go through ARGS, for example: make demo ARGS='--num_agents 6 --fresh'"
	@echo "                                        make test ARGS='tests/utils -x'"

demo: install  ## train an allocation agent, compare it with experts, promote and invoke it
	@$(run) rl_training_demo.py --demo_type resource_allocation $(ARGS)

console: install-console  ## the console in the browser, and a server for it if none runs
	@$(run) -m console $(ARGS)

test: install-dev  ## run all tests but the learning ones
	@OMP_NUM_THREADS=1 $(run) -m pytest -m "not learning" $(SPREAD) $(ARGS)

learn: install-dev  ## train each algorithm on a small problem until a known score
	@OMP_NUM_THREADS=1 $(run) -m pytest -m learning $(SPREAD) --dist load $(ARGS)

chaos: install-dev  ## kill, freeze and restart everything for minutes; nothing may be lost or doubled
	@QUARTERMASTER_CHAOS_SECONDS=$${QUARTERMASTER_CHAOS_SECONDS:-180} OMP_NUM_THREADS=1 $(run) -m pytest -s --hypothesis-profile=chaos -o faulthandler_timeout=3600 \
		tests/chaos/test_storm.py tests/orchestration/test_state_machine.py $(ARGS)

shapes: install-dev  ## test the learning core with the shape of every array checked
	@OMP_NUM_THREADS=1 $(run) -m pytest -q -m "not slow and not learning" tests/algorithms \
		tests/environments/test_mechanisms.py tests/training/test_rollout.py \
		--jaxtyping-packages=rl.algorithms,rl.environments,beartype.beartype

check: install-dev  ## format, lint, layers and types, changing nothing
	@$(run) -m ruff format --check .
	@$(run) -m ruff check .
	@$(run) .venv/bin/lint-imports
	@$(run) -m mypy

fix: install-dev  ## format, and repair what the linter can
	@$(run) -m ruff format .
	@$(run) -m ruff check --fix .

bench: install-dev  ## measure environment steps per second beside public peers
	@scripts/install-peers
	@OMP_NUM_THREADS=1 $(run) -m benchmarks.environment_speed $(ARGS)

docs: install-dev  ## build the documentation site into var/site; a warning fails
	@NO_MKDOCS_2_WARNING=1 $(run) -m mkdocs build --strict --quiet $(ARGS)
	@echo "docs: open var/site/index.html"

install:
	@scripts/install requirements.txt

install-console:
	@scripts/install requirements.txt requirements-console.txt

install-dev:
	@scripts/install requirements.txt requirements-dev.txt
