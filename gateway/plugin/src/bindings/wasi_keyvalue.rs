//! The WASI draft for key-value stores, `wasi:keyvalue@0.2.0-draft`: of its interfaces the two that are
//! linked.

wasmtime::component::bindgen!({
    path: "wit/deps/keyvalue",
    inline: "
        package gateway:host;

        world host {
            import wasi:keyvalue/store@0.2.0-draft;
            import wasi:keyvalue/atomics@0.2.0-draft;
        }
    ",
    imports: { default: async | trappable },
    with: { "wasi:keyvalue/store.bucket": crate::grants::wasi_keyvalue::Bucket },
});

pub(crate) use self::wasi::keyvalue::{atomics, store};
