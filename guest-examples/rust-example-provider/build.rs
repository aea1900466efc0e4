//! Sets the component's stack size.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // 64 KiB instead of 1 MiB. The gateway can wipe such a small memory in place after a call, without returning it to
    // the system, which makes calls faster.
    if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "wasm32") {
        println!("cargo::rustc-link-arg-cdylib=-zstack-size=65536");
    }
}
