# What there is to run. CI and the README name the same commands.

set shell := ["bash", "-euo", "pipefail", "-c"]

other_guests := "out/js-role-provider.wasm:out/python-role-provider.wasm:out/c-role-provider.wasm"

canaries := "out/js-canary.wasm:out/python-canary.wasm:out/c-canary.wasm"

# Where `api-tools` installs to.
api_tools := env("API_TOOLS", justfile_directory() / "tests/api/out")

# Lists the recipes.
default:
    @just --list

# A working gateway on http://127.0.0.1:8080, with a development sign-in and the example plugins.
dev *ARGS:
    cargo run --release -- dev {{ARGS}}

# The tests that need a Rust toolchain and nothing else.
test:
    cargo test --workspace

# The same while twice as many busy loops run as there are processors: the tests must pass on a slow machine as well.
test-busy *ARGS:
    cargo test --workspace --no-run
    trap 'kill $(jobs -p)' EXIT; for _ in $(seq $((2 * $(nproc)))); do (while :; do :; done) & done; \
        timeout 1h cargo test --workspace {{ARGS}}

# All tests: also thousands of connections, kills and swaps, and what needs Node, Chromium, Python, C and JavaScript.
test-all: node-modules api-tools guests
    PATH="{{api_tools}}/bin:$PATH" GUEST_COMPONENTS={{other_guests}} GUEST_CANARIES={{canaries}} cargo test --workspace --features gateway/test-all

# Makes requests, good and bad, from what gateway/openapi.json says, so many for each operation, and holds the answers
# against it.
api-fuzz EXAMPLES="300": api-tools
    PATH="{{api_tools}}/bin:$PATH" API_EXAMPLES={{EXAMPLES}} cargo test -p gateway --features test-all --test api -- --nocapture

# So many calls in which guests in every language look for what an earlier call left behind: docs/isolation.md.
canary CALLS="1000000": guests
    GUEST_CANARIES={{canaries}} cargo test -p test-guests --test bare -- canary
    GUEST_CANARIES={{canaries}} CANARY_CALLS={{CALLS}} cargo test -p gateway-plugin --test all -- canary --nocapture

# Lets one user, one plugin and one provider grow whatever they can, SECONDS each, beside a release build's good client.
growth SECONDS="600":
    GROWTH_SECONDS={{SECONDS}} cargo test --release -p gateway --features test-all --test growth -- --nocapture --test-threads 1

# Opens 5,000 new connections a second beside a good client of a release build.
connections:
    cargo test --release --workspace --features gateway/test-all --test load -- --nocapture --test-threads 1 a9_

# The guests that are not in Rust, built with their own languages' tools, and the examples' own tests.
guests:
    guest-examples/build test

# Formatting and lints, as CI has them.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --features gateway/test-all -- -D warnings
    cargo clippy --workspace --no-default-features -- -D warnings
    for apart in fuzz/ guest-examples/rust-*/ tests/guests/rust/; do (cd "$apart" && cargo fmt --all --check); done

# Removes each defence from a copy of the sources and checks that its tests fail: some hours. With TEXT only the entries
# that have it in their name or threat; with --owed only those that are not on record yet. See docs/defences.md.
defences *TEXT:
    tests/defences/replay {{TEXT}}

# Checks that every removal fits the sources and has its tests, and lists in docs/defences.md which are on record.
defences-check:
    tests/defences/replay --check

# Licences, sources, banned crates, known vulnerabilities of everything that has a lock file, dependencies that nobody
# uses. ADVISORY_DB: a folder with a copy of the RustSec database, for where the live one cannot be fetched.
# Throws what nobody would write at what reads it: all targets or TARGET, SECONDS each. Needs cargo-fuzz. See
# docs/fuzzing.md.
fuzz TARGET="all" SECONDS="60":
    fuzz/run fuzz {{TARGET}} {{SECONDS}}

# Licences, sources, banned crates and known vulnerabilities. ADVISORY_DB: a folder with a copy of the
# RustSec database; without it cargo-deny fetches the live one.
deny:
    .ci/deny
    cargo shear

# A CycloneDX SBOM of the production build, with cargo-cyclonedx.
sbom OUT="sbom.cdx.json":
    .ci/sbom {{OUT}}

# Measures the gateway end to end and writes docs/benchmarks, in ten minutes; see `just bench --help`. After
# `just guests` there are plugins in four languages among those that are measured.
bench *ARGS:
    cargo bench -p gateway --bench suite -- {{ARGS}}

# What signing, the database and a plugin's call in four languages cost without HTTP: three minutes after building.
# Medians are in <target dir>/criterion/<group>/<function>/new/estimates.json, in nanoseconds.
bench-in-process *ARGS: guests
    cargo bench -p gateway-token --bench tokens -- {{ARGS}}
    cargo bench -p gateway-store --bench store -- {{ARGS}}
    cargo bench -p gateway-plugin --bench calls -- {{ARGS}}

# Instructions of the hot paths, by valgrind: the same on a busy machine and a quiet one. A number for each name is in
# <target dir>/instructions.json.
bench-instructions *ARGS:
    cargo bench -p gateway --bench instructions -- {{ARGS}}

# The command's production build: no example plugins, no development sign-in.
build-production:
    cargo build --release -p gateway --no-default-features

# What the tests behind `test-all` need from npm.
node-modules:
    npm ci --no-audit --no-fund --prefix tests/upstream/oidc-provider
    npm ci --no-audit --no-fund --prefix tests/browser
    npm ci --no-audit --no-fund --prefix tests/upstream/angular-client

# What `api-fuzz` needs from PyPI.
api-tools:
    cmp -s tests/api/requirements.txt "{{api_tools}}/installed.txt" || { \
        python3 -m venv "{{api_tools}}" && \
        "{{api_tools}}/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r tests/api/requirements.txt && \
        cp tests/api/requirements.txt "{{api_tools}}/installed.txt"; }
