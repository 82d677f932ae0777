# The commands of the README. Everything runs in .venv, which `make setup` creates from the lock.
# Tests run in a process a core with one thread each: a second thread only waits where models are this small.
PYTEST := OMP_NUM_THREADS=1 .venv/bin/pytest -q --numprocesses logical --dist loadfile -m

.PHONY: setup run test test-slow lint lock clean

setup:
	@infra/setup.sh

# `lapidar run` ends with 3 where the run is done and the gate didn't pass, and says so in its last line: no failure of make's.
run: setup
	@.venv/bin/lapidar run quickstart || [ $$? -eq 3 ]

test: setup lint
	$(PYTEST) "not slow and not gpu"

test-slow: setup
	$(PYTEST) "slow and not gpu"

lint: setup
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

lock: setup
	.venv/bin/pip-compile --quiet --extra dev --extra embeddings --generate-hashes --strip-extras --allow-unsafe --unsafe-package torch \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header \
		--output-file infra/requirements.lock pyproject.toml
	@sed -i '/^# The following packages/,$$d' infra/requirements.lock

clean:
	rm -rf .venv .lapidar
