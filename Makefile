# `make test` and `make demo` do all the set-up themselves: a virtual environment in .venv, what pyproject.toml asks
# for, the compiled extension. They need Python >= 3.11, a C compiler and nothing else. A second run is quick: hidden
# stamp files in .venv say what is done, and the extension is built again when its sources are newer.

PYTHON ?= python3
VENV   ?= .venv
PY     := $(VENV)/bin/python
PIP    := $(PY) -m pip --disable-pip-version-check
JOBS   ?= 2
PYTEST := $(VENV)/bin/pytest -n $(JOBS)
C      := kernels/cython_cpu/c
BENCH  ?= --quick

VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
COMPILED_PYTHON := $(wildcard fastmlp/*.pxd fastmlp/*/*.pxd)
SOURCES := setup.py pyproject.toml $(wildcard fastmlp/*.pyx kernels/cython_cpu/*.pyx kernels/cython_cpu/*.pxd $(C)/*.[ch]) \
  $(COMPILED_PYTHON) $(COMPILED_PYTHON:.pxd=.py)
BUILT   := $(VENV)/.built
TESTED  := $(BUILT) $(VENV)/.extra-test $(VENV)/.extra-demo

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test check isa cuda selftest neon dist sanitize bench readme ulp clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile
	@echo "  make PYTHON=python3.12 ...  uses that Python"
	@echo "  make JOBS=4 test            runs the tests in so many processes"

# ------------------------------------------------------------------------------------------------- set-up

# Its name holds the version, so that another PYTHON gives a new environment.
ENVIRONMENT := $(VENV)/.python-$(VERSION)

$(ENVIRONMENT):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "fastmlp needs Python 3.11 or newer, and $(PYTHON) is not: make PYTHON=python3.12"; exit 1; }
	$(PY) -c 'import pip, sys; sys.exit("%d.%d" % sys.version_info[:2] != "$(VERSION)")' 2>/dev/null || \
	  $(PYTHON) -m venv --clear $(VENV)
	@touch $@

# $(call requires,key): a list in pyproject.toml, `p`
requires = $$($(PY) -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb")); print(*$(1))')

$(VENV)/.base: $(ENVIRONMENT) pyproject.toml
	$(PIP) install $(call requires,p["build-system"]["requires"] + p["project"]["dependencies"])
	@touch $@

$(VENV)/.extra-%: $(VENV)/.base
	$(PIP) install $(call requires,p["project"]["optional-dependencies"]["$*"])
	@touch $@

$(BUILT): $(VENV)/.base $(SOURCES)
	$(PIP) install --no-build-isolation --no-deps -e .
	@touch $@

# ---------------------------------------------------------------------------------------------- every day

demo: $(BUILT) $(VENV)/.extra-demo  ## run a tutorial's programs, train a digit classifier; pictures under out/
	$(PY) examples/article.py
	$(PY) examples/digits.py

test: $(TESTED)  ## run the test suite
	$(PYTEST)

# mypy does not follow the mapping of kernels/ to fastmlp.kernels, so it sees a tree in which it is real.
check: $(TESTED) $(VENV)/.extra-check  ## ruff, and mypy on the public API
	$(PY) -m ruff check .
	rm -rf build/types && mkdir -p build/types
	cp -R fastmlp build/types/ && cp -R kernels build/types/fastmlp/
	cd build/types && $(abspath $(PY)) -m mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache \
	  --follow-imports silent --exclude /kernels/ fastmlp

# The Numba backend does not depend on it.
isa: $(TESTED)  ## run the suite once for every instruction set that this machine has but the best, with which `test` runs
	@set -e; rm -rf build/cache; \
	isas=$$($(PY) -c 'from fastmlp.kernels.cython_cpu import available_isas as a; print(*a()[1:])'); \
	for isa in $$isas; do \
	  echo "== FASTMLP_ISA=$$isa"; FASTMLP_ISA=$$isa FASTMLP_CACHE_DIR=$(abspath build/cache) $(PYTEST) -k "not numba"; \
	done

# Several 100 MB are fetched for it: the compiler of the kernels, none of CUDA's libraries of them.
cuda: $(TESTED)  ## compile formulas for GPUs, as the user's functions are; no GPU is needed
	$(PIP) install "numba-cuda[cu13]>=0.30,<0.31"
	FASTMLP_REQUIRE=numba_cuda $(PYTEST) tests/test_cuda.py

# Other libraries are compared with where they are installed; torch is not fetched, since its default build is gigabytes.
bench: $(BUILT) $(VENV)/.extra-demo  ## measure fastmlp beside NumPy, scikit-learn and, where .venv has them, others
	$(PY) -m fastmlp.bench $(BENCH)

readme: $(BUILT) $(VENV)/.extra-demo  ## write the runs that are kept in bench/*.json into README.md and BENCHMARKS.md
	$(PY) -m fastmlp.bench.readme --pictures bench README.md BENCHMARKS.md

ulp: $(BUILT)  ## measure the activations over all floats, which takes a while, and write the table into README.md
	$(PIP) install mpmath
	mkdir -p build && $(PY) tools/ulp_table.py > build/ulp.md
	$(PY) -c 'import re, pathlib; readme = pathlib.Path("README.md"); table = open("build/ulp.md").read(); \
	  readme.write_text(re.sub("(?s)(<!-- ulp:start -->\n).*(<!-- ulp:end -->)", \
	  lambda marks: marks[1] + table + marks[2], readme.read_text("utf-8")), "utf-8")'

clean:  ## remove everything that was built, .venv included
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
	rm -f kernels/cython_cpu/*.c kernels/cython_cpu/*.so
	find fastmlp '(' -name '*.c' -o -name '*.so' ')' -delete
	find fastmlp kernels bench tests examples tools -name __pycache__ -exec rm -rf {} +

# --------------------------------------------------------------------------------------- the C engine alone

# The instruction sets of each machine and their flags are those of setup.py.
isas_x86_64  := generic avx2 avx512
isas_aarch64 := generic neon
isas_arm64   := $(isas_aarch64)
flags_avx2   := -mavx2 -mfma
flags_avx512 := -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma -mprefer-vector-width=512

upper = $(shell echo $(1) | tr a-z A-Z)

# $(call build_selftest,folder,compiler,instruction sets) -> folder/selftest
define build_selftest
rm -rf $(1) && mkdir -p $(1)
$(foreach isa,$(3),$(foreach bits,32 64,\
  $(2) -c -DISA=$(isa) -DISA_$(call upper,$(isa))=1 -DREAL_BITS=$(bits) $(flags_$(isa)) $(C)/kernels.c -o $(1)/$(isa)_$(bits).o &&)) \
$(2) $(foreach isa,$(3),-DHAVE_$(call upper,$(isa))=1) $(C)/engine.c $(C)/pool.c $(C)/selftest.c $(1)/*.o \
  -o $(1)/selftest -lpthread -lm
endef

selftest:  ## compile and run the C engine's own test
	$(call build_selftest,build/selftest,$(CC) -O2 -std=gnu11 -ffp-contract=off,$(or $(isas_$(shell uname -m)),generic))
	build/selftest/selftest

neon:  ## the same for 64-bit Arm: cross-compiled, run under qemu-aarch64
	$(call build_selftest,build/neon,aarch64-linux-gnu-gcc -O2 -std=gnu11 -ffp-contract=off -static,$(isas_aarch64))
	qemu-aarch64 build/neon/selftest

# ------------------------------------------------------------------------------------------------- packages

$(VENV)/.build-tool: $(VENV)/.base
	$(PIP) install build
	@touch $@

# The tests run on the installed wheel, from files of the sdist, in a folder where the tree cannot be imported.
dist: $(VENV)/.build-tool  ## build sdist and wheel; test the wheel outside the tree
	rm -rf dist *.egg-info
	$(PY) -m build
	set -e; outside=$$(mktemp -d); trap 'rm -rf "$$outside"' EXIT; dist="$$PWD/dist"; \
	$(PY) -m venv "$$outside/venv"; \
	"$$outside/venv/bin/python" -m pip install "$$(echo "$$dist"/*.whl)[test,demo]"; \
	mkdir "$$outside/sdist"; tar xzf "$$dist"/*.tar.gz --strip-components 1 -C "$$outside/sdist"; \
	cd "$$outside"; mv sdist/tests sdist/examples sdist/README.md sdist/pyproject.toml .; rm -rf sdist; \
	venv/bin/fastmlp info; venv/bin/python -c 'import fastmlp; assert fastmlp.get_backend() == "cython"'; \
	venv/bin/python -c 'from fastmlp import ops; ops.linear([[1.0]], [[2.0]], backend="numba")'; \
	venv/bin/pytest -n $(JOBS) -k "not numba"

# In an environment of its own, and past pip's cache, where a sanitized wheel could be mistaken for a normal one. Leaks
# are not looked for, because Python itself keeps memory until it ends.
sanitize: $(VENV)/.build-tool  ## the kernel tests with the address and undefined-behaviour sanitizers
	rm -rf build/sanitize/sdist *.egg-info
	test -x build/sanitize/bin/python || $(PY) -m venv build/sanitize
	$(PY) -m build --sdist --outdir build/sanitize/sdist
	build/sanitize/bin/python -m pip install $(call requires,p["build-system"]["requires"]) \
	  $(call requires,p["project"]["dependencies"] + p["project"]["optional-dependencies"]["test"])
	CC=gcc FASTMLP_CFLAGS="-fsanitize=address,undefined -fno-omit-frame-pointer -g -O1" \
	  build/sanitize/bin/python -m pip install --no-cache-dir --no-build-isolation --no-deps \
	  --force-reinstall build/sanitize/sdist/*.tar.gz
	cd build/sanitize && LD_PRELOAD=$$(gcc -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 \
	  UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 bin/pytest ../../tests -p no:cacheprovider --capture=sys
