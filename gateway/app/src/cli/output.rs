//! The output of commands: tables, JSON, and text that is safe to show on a terminal.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use gateway_model::text::is_unsafe;
use serde::Serialize;

pub(super) fn table<const N: usize>(
    out: &mut impl Write,
    head: [&str; N],
    rows: &[[String; N]],
) -> io::Result<()> {
    let rows: Vec<[String; N]> = rows
        .iter()
        .map(|row| row.each_ref().map(|cell| printable(cell)))
        .collect();
    let mut widths = head.map(|cell| cell.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut line = |cells: &[String; N]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        writeln!(out, "{}", padded.join("  ").trim_end())
    };
    line(&head.map(str::to_owned))?;
    rows.iter().try_for_each(line)
}

/// Prints a value as indented JSON and a newline.
pub(super) fn json(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value).map_err(io::Error::from)?;
    writeln!(out)
}

/// Prints what a command has done. If this fails, the command has still succeeded.
pub(super) fn report(text: &[u8]) {
    let mut out = io::stdout().lock();
    let printed = out.write_all(text).and_then(|()| out.flush());
    if let Err(error) = printed
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        // If stderr is closed too, there is nowhere to report to.
        let _ = writeln!(
            io::stderr(),
            "gateway: the command succeeded, but standard output cannot be written: {error}"
        );
    }
}

/// Writes a file completely or not at all. Its mode is left to the umask, so that a gateway that runs as another user
/// can read it.
pub(super) fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut draft = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory.unwrap_or(Path::new(".")))?;
    draft.write_all(contents)?;
    draft.as_file().sync_all()?;
    draft.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Escapes control characters and those that change the direction of writing. Otherwise a user could control the
/// operator's terminal with their name.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .fold(String::with_capacity(text.len()), |mut safe, c| {
            if is_unsafe(c) {
                safe.extend(c.escape_unicode());
            } else {
                safe.push(c);
            }
            safe
        })
}

#[cfg(test)]
mod tests {
    use super::{printable, table};

    #[test]
    fn columns_are_aligned() {
        let rows = [
            ["1".to_owned(), "Ünlü".to_owned()],
            ["200".to_owned(), String::new()],
        ];
        let mut out = Vec::new();
        table(&mut out, ["ID", "NAME"], &rows).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "ID   NAME\n1    Ünlü\n200\n");
    }

    #[test]
    fn control_characters_in_names_are_escaped() {
        assert_eq!(
            printable("Zoë \u{1b}[31m\n\u{202e}\u{9b}x"),
            "Zoë \\u{1b}[31m\\u{a}\\u{202e}\\u{9b}x"
        );
    }
}
