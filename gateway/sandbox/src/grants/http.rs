//! The grant `http`: `wasi:http/types` and `wasi:http/outgoing-handler`, of which [`crate::http`] decides.
//! Of incoming requests there are the shapes only.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::IoError;
use wasmtime_wasi_http::Error as WasiError;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;

use crate::guest::GuestState;

/// In the version that the library has. Components of any 0.2 are linked to it.
pub(super) const IMPORTS: &[&str] = &["wasi:http/types@0.2.12", "wasi:http/outgoing-handler@0.2.12"];
const TYPES: &str = "wasi:http/types@0.2.12";

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    // The library's own does not know the errors of its response bodies.
    linker.allow_shadowing(true);
    linker.instance(TYPES)?.func_wrap(
        "http-error-code",
        |store: StoreContextMut<'_, GuestState>, (error,): (Resource<IoError>,)| {
            Ok((error_code(store.data().table.get(&error)?),))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// What went wrong with a stream of a body, where that is known.
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
