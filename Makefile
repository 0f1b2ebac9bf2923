# The commands of a contributor, one line each.
.PHONY: install install-cpu lint unit test docs wheel hooks ci

install:
	python3 -m venv .venv && .venv/bin/pip install -q -c constraints.txt -e '.[test,docs]'
install-cpu:
	python3 -m venv .venv && .venv/bin/pip install -q -c constraints.txt --extra-index-url https://download.pytorch.org/whl/cpu torch torchvision && $(MAKE) install
lint:
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy
unit:
	.venv/bin/pytest -n auto tests/unit
test:
	.venv/bin/pytest
docs:
	.venv/bin/mkdocs build --strict
wheel:
	.venv/bin/pip wheel -q --no-deps -w dist .
hooks:
	.venv/bin/pip install -q pre-commit && .venv/bin/pre-commit install
ci:
	bash .ci/run
