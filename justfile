# The project's commands. CI and the README use the same ones.

set shell := ["bash", "-euo", "pipefail", "-c"]

other_guests := "out/js-role-provider.wasm:out/python-role-provider.wasm:out/c-role-provider.wasm"

canaries := "out/js-canary.wasm:out/python-canary.wasm:out/c-canary.wasm"

# Where `api-tools` installs its packages.
api_tools := env("API_TOOLS", justfile_directory() / "tests/api/out")

# Where `client-tools` installs its packages.
client_tools := env("CLIENT_TOOLS", justfile_directory() / "tests/clients/out")

# The packages with tests that are quick enough for cargo-mutants.
libraries := "gateway-model gateway-token gateway-store gateway-upstream gateway-sandbox gateway-host gateway-devkit"

# Where `docs` writes the site.
site := env("CARGO_TARGET_DIR", justfile_directory() / "target") / "docs"

# Do not record the failing inputs of property tests, which a mutant causes.
mutants := "PROPTEST_DISABLE_FAILURE_PERSISTENCE=1 cargo mutants --in-place"

# List the recipes.
default:
    @just --list

# Run a gateway on http://127.0.0.1:8080 with the development sign-in and the example plugins.
[group('run')]
dev *ARGS:
    cargo run --release -- dev {{ARGS}}

# Write the tables of docs/configuration.md from the declarations of the settings.
[group('write')]
settings:
    WRITE_SETTINGS=1 cargo test -p gateway --lib config::tests::docs

# Run the tests that need only a Rust toolchain.
[group('test')]
test:
    cargo test --workspace

# Run the same tests beside two busy loops per processor, as they must pass on a slow machine too.
[group('test')]
test-busy *ARGS:
    cargo test --workspace --no-run
    trap 'kill $(jobs -p)' EXIT; for _ in $(seq $((2 * $(nproc)))); do (while :; do :; done) & done; \
        timeout 1h cargo test --workspace {{ARGS}}

# Run all tests, including the slow ones and those that need Node, Chromium, Python and C.
[group('test')]
test-all: node-modules api-tools client-tools guests
    PATH="{{api_tools}}/bin:$PATH" CLIENT_TOOLS="{{client_tools}}" GUEST_COMPONENTS={{other_guests}} GUEST_CANARIES={{canaries}} RUST_TEST_THREADS=$(nproc) cargo test --workspace --features gateway-tests/test-all

# Test the API against gateway/app/openapi.json with EXAMPLES generated requests for each operation.
[group('test')]
api-fuzz EXAMPLES="300": api-tools
    PATH="{{api_tools}}/bin:$PATH" API_EXAMPLES={{EXAMPLES}} cargo test -p gateway-tests --features test-all --test api -- --nocapture

# Make CALLS calls in which guests in every language look for data of earlier calls (see docs/isolation.md).
[group('test')]
canary CALLS="1000000": guests
    GUEST_CANARIES={{canaries}} cargo test -p test-guests --test bare -- canary
    GUEST_CANARIES={{canaries}} CANARY_CALLS={{CALLS}} cargo test -p gateway-host --test all -- canary --nocapture

# Let a user, a plugin and a provider use all they can for SECONDS each, and measure a release build under that load.
[group('test')]
growth SECONDS="600":
    GROWTH_SECONDS={{SECONDS}} cargo test --release -p gateway-tests --features test-all --test growth -- --nocapture --test-threads 1

# Open 5,000 new connections a second and measure how a release build serves another client.
[group('test')]
connections:
    cargo test --release --workspace --features gateway-tests/test-all --test load -- --nocapture --test-threads 1 a9_

# Build the guests that are not in Rust, and run the examples' own tests.
[group('build')]
guests:
    guest-examples/build test

# Check formatting, wording and lints as CI does.
[group('check')]
lint: prose
    cargo fmt --all --check
    .ci/cycles
    cargo clippy --workspace --all-targets --features gateway-tests/test-all -- -D warnings
    cargo clippy --workspace --no-default-features -- -D warnings
    for apart in fuzz/ guest-examples/rust-*/ tests/guests/rust/; do (cd "$apart" && cargo fmt --all --check); done

# Check the wording of pages, comments, messages and templates, or only in PATHS.
[group('check')]
prose *PATHS:
    .ci/prose --self-test
    .ci/prose {{PATHS}}

# Remove each defence, or NAMES, from the source and require that its tests fail. --owed: only those without a current result.
[group('check')]
defences *NAMES:
    tests/defences/replay {{NAMES}}

# Check that every marked defence has an entry and tests, and that docs/defences.md is up to date.
[group('check')]
defences-check:
    tests/defences/replay --check

# Find changes to PACKAGES that no test notices, with cargo-mutants (hours or days; see docs/defences.md).
[group('check')]
mutants *PACKAGES=libraries:
    {{mutants}} {{prepend("-p ", PACKAGES)}}

# Find changes to your lines that no test notices, with cargo-mutants (see docs/defences.md).
[group('check')]
mutants-diff:
    git diff "$(git merge-base main HEAD)" -- '*.rs' >mutants.diff
    missed=0; \
        {{mutants}} --in-diff mutants.diff {{prepend("-p ", libraries)}} || missed=$?; \
        {{mutants}} --in-diff mutants.diff -p gateway -- --lib || missed=$?; \
        exit $missed

# Fuzz all targets, or TARGET, for SECONDS each. Needs cargo-fuzz (see docs/fuzzing.md).
[group('test')]
fuzz TARGET="all" SECONDS="60":
    fuzz/run fuzz {{TARGET}} {{SECONDS}}

# ADVISORY_DB names a folder with a copy of the RustSec database; without it the live one is fetched.
# Check licences, sources, banned crates, known vulnerabilities and unused dependencies.
[group('check')]
deny:
    .ci/deny
    cargo shear

# Write a CycloneDX SBOM of the production build. Needs cargo-cyclonedx.
[group('build')]
sbom OUT="sbom.cdx.json":
    .ci/sbom {{OUT}}

# Needs mdbook, and npm for the script that draws the diagrams.
# Check the links of all pages and build the documentation site in <target dir>/docs.
[group('build')]
docs:
    .ci/links
    cd docs && mdbook build --dest-dir "{{site}}"
    .ci/mermaid "{{site}}"

# Run `just guests` first to measure plugins in four languages. See `just bench --help`.
# Measure the gateway end to end and write docs/benchmarks (ten minutes).
[group('benchmark')]
bench *ARGS:
    cargo bench -p gateway --bench suite -- {{ARGS}}

# Medians are in <target dir>/criterion/<group>/<function>/new/estimates.json, in nanoseconds.
# Measure signing, the database and plugin calls without HTTP (three minutes).
[group('benchmark')]
bench-in-process *ARGS: guests
    cargo bench -p gateway-token --bench tokens -- {{ARGS}}
    cargo bench -p gateway-store --bench store -- {{ARGS}}
    cargo bench -p gateway-host --bench calls -- {{ARGS}}

# The result does not depend on the machine's load. It is in <target dir>/instructions.json.
# Count the instructions of the hot paths with valgrind.
[group('benchmark')]
bench-instructions *ARGS:
    cargo bench -p gateway --bench instructions -- {{ARGS}}

# Build for production: without the example plugins and the development sign-in.
[group('build')]
build-production:
    cargo build --release -p gateway --no-default-features

# Install what `test-all` needs from npm.
[group('build')]
node-modules:
    npm ci --no-audit --no-fund --prefix tests/upstream/oidc-provider
    npm ci --no-audit --no-fund --prefix tests/browser
    npm ci --no-audit --no-fund --prefix tests/upstream/angular-client
    npm ci --no-audit --no-fund --prefix tests/clients

# Install what `api-fuzz` needs from PyPI.
[group('build')]
api-tools:
    cmp -s tests/api/requirements.txt "{{api_tools}}/installed.txt" || { \
        python3 -m venv "{{api_tools}}" && \
        "{{api_tools}}/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r tests/api/requirements.txt && \
        cp tests/api/requirements.txt "{{api_tools}}/installed.txt"; }

# Install what the tests of generated clients need from PyPI.
[group('build')]
client-tools:
    cmp -s tests/clients/requirements.txt "{{client_tools}}/installed.txt" || { \
        python3 -m venv "{{client_tools}}" && \
        "{{client_tools}}/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r tests/clients/requirements.txt && \
        cp tests/clients/requirements.txt "{{client_tools}}/installed.txt"; }
