//! The WASI draft for settings, `wasi:config/store@0.2.0-rc.1`.

wasmtime::component::bindgen!({
    path: "wit/deps/config",
    inline: "
        package gateway:host;

        world host {
            import wasi:config/store@0.2.0-rc.1;
        }
    ",
    imports: { default: trappable },
});

pub(crate) use self::wasi::config::store;
