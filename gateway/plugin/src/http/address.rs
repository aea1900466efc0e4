//! Which addresses are public: the one classifier that everything in the gateway shares.

pub(super) use gateway_model::address::{Reach, is_nobody, reach};
