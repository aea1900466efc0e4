//! The grant `users`: users by id.

use gateway_model::UserId;
use wasmtime::component::HasSelf;

use self::wit::users;
use super::linker::Definition;
use crate::bindings::types;
use crate::convert;
use crate::guest::GuestState;

/// Longest user id that is looked up, in bytes. No user has a longer one.
const MAX_ID: usize = 256;

/// Generated from `wit/users.wit`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod wit {
    wasmtime::component::bindgen!({
        path: "../../wit",
        interfaces: "import auth-gateway:plugin/users@1.0.0;",
        imports: { default: async | trappable },
        with: { "auth-gateway:plugin/types@1.0.0": crate::bindings::auth_gateway::plugin::types },
    });
    pub(super) use self::auth_gateway::plugin::users;
}

pub(super) const DEFINITION: Definition = Definition {
    name: "users",
    imports: &["auth-gateway:plugin/users@1.0.0"],
    wit: Some(include_str!("../../../../wit/users.wit")),
    link: |linker| users::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state),
};

impl users::Host for GuestState {
    async fn get(&mut self, id: String) -> wasmtime::Result<Option<types::User>> {
        if id.len() > MAX_ID {
            return Ok(None);
        }
        // An error ends the call and is logged. The guest could do nothing with it.
        let user = self
            .users
            .lookup_user(&UserId::from(id))
            .await
            .map_err(|reason| wasmtime::Error::msg(format!("the gateway cannot look up users: {reason}")))?;
        Ok(user.as_ref().map(convert::user))
    }
}
