//! Kinds of files, for error messages.

use std::fs::FileType;
use std::os::unix::fs::FileTypeExt as _;

/// Says what a file is that is not a regular file, for example "a pipe".
#[must_use]
pub fn kind(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_char_device() || kind.is_block_device() {
        "a device"
    } else {
        "something else"
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::kind;

    #[test]
    fn a_file_that_is_not_regular_is_named_by_its_kind() {
        let folder = std::env::temp_dir().join(format!("auth-gateway-kinds-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (link, socket, plain) = (folder.join("link"), folder.join("socket"), folder.join("plain"));
        symlink("nowhere", &link).unwrap();
        let _listener = UnixListener::bind(&socket).unwrap();
        fs::write(&plain, "").unwrap();
        let of = |path: &std::path::Path| kind(fs::symlink_metadata(path).unwrap().file_type());
        let named = [
            of(&folder),
            of(&link),
            of(&socket),
            of("/dev/null".as_ref()),
            of(&plain),
        ];
        fs::remove_dir_all(&folder).unwrap();
        let expected = [
            "a directory",
            "a symbolic link",
            "a socket",
            "a device",
            "something else",
        ];
        assert_eq!(named, expected);
        let (reader, _writer) = std::io::pipe().unwrap();
        let pipe = File::from(OwnedFd::from(reader));
        assert_eq!(kind(pipe.metadata().unwrap().file_type()), "a pipe");
    }
}
