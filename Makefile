# The commands for working on this crate; `make` lists them.

# On CI a missing rustfmt or clippy is a failure, and so is a missing valgrind on Linux; elsewhere the step is skipped with a message.
component = cargo $(1) --version >/dev/null 2>&1 || [ -n "$$CI" ]
require_valgrind = $(if $(filter Linux,$(shell uname)),$${CI:+1})
skipped = echo "SKIPPED cargo $(1): install it with 'rustup component add $(2)'"

# Formatting, and lints of every target with all features.
define lint
	@if $(call component,fmt); then set -x; cargo fmt --check; \
	else $(call skipped,fmt,rustfmt); fi
	@if $(call component,clippy); then set -x; cargo clippy --all-targets --all-features -- -D warnings; \
	else $(call skipped,clippy,clippy); fi
endef

# Clippy checks the examples, so they are not linked here.
required = TTN_TEST_REQUIRE_MOSQUITTO=1 TTN_TEST_REQUIRE_NATS=$${TTN_TEST_REQUIRE_NATS:-1}
tests = $(required) cargo test --all-features --lib --tests
instructions = cargo bench --quiet --all-features --bench instructions

.PHONY: help demo demo-v2 quick test test-clusters features without-tls package oldest-rust semver bench fuzz
.NOTPARALLEL:

help:
	@echo "make demo      a simulated v3 network, two devices and a client: no account or radio needed"
	@echo "make demo-v2   the same client on a simulated V2 network"
	@echo "make quick     formatting, lints, unit tests: less than half a minute once built"
	@echo "make test      formatting, lints, tests (with Mosquitto), documentation, instructions for one uplink"
	@echo "make test-clusters   brokers, nodes and consumers killed under 20,000 messages each: ten minutes"
	@echo "make features  lints of the library and the tool with every combination of features"
	@echo "make without-tls   the tests of a build without TLS"
	@echo "make package   the package as it would be published, and its tests: twenty minutes"
	@echo "make oldest-rust   the library and the tool with the oldest Rust that is supported"
	@echo "make semver    whether the API is compatible with the last release"
	@echo "make bench     how fast messages are decoded and delivered"
	@echo "make fuzz      random input, TARGET=decode_v3 SECONDS=60; the targets are in tests/fuzz/README.md"

demo:
	@.ci/setup build
	@echo "Building; the first time takes a minute or two."
	cargo run --quiet --features simulator --example quickstart -- $(ARGS)

demo-v2: ARGS = --v2
demo-v2: demo

quick:
	@.ci/setup build
	$(lint)
	cargo test --all-features --lib

test:
	@.ci/setup test
	$(lint)
# The features that users build with, without those that the tests enable.
	.ci/features used
	$(tests) --no-run
# The tests mostly wait, so the benchmark is compiled at the same time.
	nice $(instructions) --no-run & benchmark=$$!; \
	$(tests); tested=$$?; \
	wait $$benchmark && exit $$tested
	cargo test --all-features --doc
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --all-features
	TTN_TEST_REQUIRE_VALGRIND=$(require_valgrind) $(instructions) -- --check

features:
	@.ci/setup build
	.ci/features all

without-tls:
	@.ci/setup build
	cargo test --no-default-features --features simulator --test behaviour without_tls::

# With a target folder of its own, so that the tests find nothing outside of the package. Arguments of `cargo test`: TEST=.
package: TEST =
package:
	@.ci/setup test
	.ci/package $(TEST)

# The dependencies of the tests may need a newer compiler.
oldest-rust: RUST = $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
oldest-rust:
	@.ci/setup build
	cargo +$(RUST) check --locked --lib --all-features
	cargo +$(RUST) check --locked --bin ttn --all-features

# There is nothing to compare with before the first release.
semver:
	@if cargo info --registry crates-io ttn >/dev/null 2>&1; then set -x; cargo semver-checks; \
	else echo "SKIPPED cargo semver-checks: no release of ttn on crates.io"; fi

test-clusters:
	@.ci/setup test
	$(required) TTN_TEST_LONG=1 cargo test --all-features --test scale

bench:
	@.ci/setup bench
	benches/run

fuzz: TARGET = decode_v3
fuzz: SECONDS = 60
fuzz:
	@.ci/setup build
	@[ -d tests/fuzz/corpus/$(TARGET) ] || tests/fuzz/seed.sh
	cargo +nightly fuzz run --fuzz-dir tests/fuzz --sanitizer none $(TARGET) -- -max_total_time=$(SECONDS) \
	$(addprefix -dict=,$(wildcard tests/fuzz/$(TARGET).dict))
