//! The grant `users`: looking users up.

use gateway_model::UserId;
use wasmtime::component::{HasSelf, Linker};

use crate::bindings::{types, v1};
use crate::convert;
use crate::guest::GuestState;

/// Longest user id that is looked up; a longer one is nobody's.
const MAX_ID: usize = 256;

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    v1::users::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)
}

impl v1::users::Host for GuestState {
    async fn get(&mut self, id: String) -> wasmtime::Result<Option<types::User>> {
        if id.len() > MAX_ID {
            return Ok(None);
        }
        // The reason is for the log, as a trap's is. The guest could do nothing with it.
        let user = self
            .users
            .lookup_user(&UserId::from(id))
            .await
            .map_err(|reason| {
                wasmtime::Error::msg(format!(
                    "the gateway cannot look users up at the moment: {reason}"
                ))
            })?;
        Ok(user.as_ref().map(convert::user))
    }
}
