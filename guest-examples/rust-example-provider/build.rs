//! Gives the component a small stack.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // 64 KiB in place of 1 MiB: the whole memory is then so small that the gateway wipes it after a call and
    // keeps it, instead of giving it back to the system, which makes calls quicker.
    if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "wasm32") {
        println!("cargo::rustc-link-arg-cdylib=-zstack-size=65536");
    }
}
