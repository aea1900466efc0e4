//! The grant `http`: `wasi:http/types` and `wasi:http/outgoing-handler`. [`crate::http`] checks and sends the requests.
//! A plugin cannot receive any: only the types of incoming requests are linked.

use wasmtime::StoreContextMut;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::IoError;
use wasmtime_wasi_http::Error as WasiError;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;

use super::linker::Definition;
use crate::guest::GuestState;

/// The version that wasmtime-wasi-http provides. The linker accepts components built for any 0.2.
const TYPES: &str = "wasi:http/types@0.2.12";

pub(super) const DEFINITION: Definition = Definition {
    name: "http",
    imports: &[TYPES, "wasi:http/outgoing-handler@0.2.12"],
    wit: None,
    link: |linker| {
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
        // The library's version does not know the errors of our response bodies.
        linker.allow_shadowing(true);
        linker.instance(TYPES)?.func_wrap(
            "http-error-code",
            |store: StoreContextMut<'_, GuestState>, (error,): (Resource<IoError>,)| {
                Ok((error_code(store.data().table.get(&error)?),))
            },
        )?;
        linker.allow_shadowing(false);
        Ok(())
    },
};

/// Why the stream of a body failed, if that is known.
fn error_code(error: &IoError) -> Option<ErrorCode> {
    if let Some(code) = error.downcast_ref::<ErrorCode>() {
        return Some(code.clone());
    }
    Some(match error.downcast_ref::<WasiError>()? {
        WasiError::HttpResponseBodySize(bytes) => ErrorCode::HttpResponseBodySize(*bytes),
        WasiError::HttpResponseTimeout => ErrorCode::HttpResponseTimeout,
        WasiError::HttpResponseIncomplete => ErrorCode::HttpResponseIncomplete,
        WasiError::ConnectionReadTimeout => ErrorCode::ConnectionReadTimeout,
        _ => ErrorCode::HttpProtocolError,
    })
}
