//! Files that are not what they should be.

use std::fs::FileType;
use std::os::unix::fs::FileTypeExt as _;

/// Says what something is that is not a regular file: "a pipe".
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
