//! Looks for what a sandbox must not show: environment, arguments, input, files, the network.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::{env, fs, io};

use crate::{Answer, integer, text};

/// Returns what the guest can see: counts of variables, arguments and bytes of input, and a sentence for each file,
/// directory and socket that it could open (`opened`; empty in a sandbox).
pub(crate) fn look() -> Answer {
    let mut opened = Vec::new();
    for path in [
        "/",
        ".",
        "/etc/passwd",
        "/proc/self/environ",
        "Cargo.toml",
        "..",
        "/dev/null",
    ] {
        if fs::metadata(path).is_ok() || fs::read_dir(path).is_ok() || fs::File::open(path).is_ok() {
            opened.push(path.to_owned());
        }
    }
    if fs::write("/tmp/auth-gateway-guest", "I was here").is_ok() {
        opened.push("wrote /tmp/auth-gateway-guest".to_owned());
    }
    if TcpStream::connect("127.0.0.1:1").is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    {
        opened.push("a connection to 127.0.0.1:1 was tried".to_owned());
    }
    if TcpListener::bind("127.0.0.1:0").is_ok() {
        opened.push("a listening socket".to_owned());
    }
    let mut input = Vec::new();
    let _ = io::stdin().read_to_end(&mut input);
    Ok(vec![
        integer(
            "variables",
            i64::try_from(env::vars_os().count()).unwrap_or(i64::MAX),
        ),
        integer(
            "arguments",
            i64::try_from(env::args_os().count()).unwrap_or(i64::MAX),
        ),
        integer("input", i64::try_from(input.len()).unwrap_or(i64::MAX)),
        text("opened", &opened.join(", ")),
    ])
}
