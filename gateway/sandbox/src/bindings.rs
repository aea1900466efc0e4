//! The plugin interface in Rust, generated from the `.wit` files that plugin authors compile against.
//!
//! The worlds are the host's own: they have every import and every export of the package, and no
//! component has to match one as a whole. Imports are linked one grant at a time ([`crate::grants`]),
//! exports are looked up one interface at a time ([`crate::exports`]).

#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

pub(crate) mod v1;

pub(crate) use self::v1::types;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use sha2::{Digest as _, Sha256};

    /// The digest of a directory's `.wit` files, in the order of their names, comments included.
    fn digest(directory: &str) -> String {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
        let mut files: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "wit"))
            .collect();
        files.sort();
        let mut digest = Sha256::new();
        for file in files {
            digest.update(file.file_name().unwrap().as_encoded_bytes());
            digest.update(fs::read(file).unwrap());
        }
        hex::encode(digest.finalize())
    }

    #[test]
    fn version_1_0_0_does_not_change() {
        assert_eq!(
            digest("../../wit"),
            "20d3f470dacde5fbf7460e278b3a7e7e552566ed60f06b9e275b1e8369a4c9d6",
            "version 1.0.0 is published, and components are compiled against it: a change is a new version"
        );
    }
}
