//! The certificate authorities trusted for providers: the machine's, unless `SSL_CERT_FILE` or `SSL_CERT_DIR` names
//! others.
//!
//! The TLS libraries would read these variables too. Reading them here treats an empty variable as unset, as everywhere
//! in the configuration, and names the variable in the error.

use std::env;
use std::ffi::OsString;
use std::path::Path;

use reqwest::Certificate;
use rustls::RootCertStore;
use rustls_native_certs::{CertificateResult, load_certs_from_paths};

const FILE: &str = "SSL_CERT_FILE";
const DIRECTORIES: &str = "SSL_CERT_DIR";

/// The authorities to trust; `None` means the machine's, as the TLS library finds them.
///
/// # Errors
/// The variable that cannot be used, and the remedy.
pub(crate) fn authorities() -> Result<Option<Vec<Certificate>>, String> {
    choose(env::var_os(FILE), env::var_os(DIRECTORIES))
}

fn choose(file: Option<OsString>, directories: Option<OsString>) -> Result<Option<Vec<Certificate>>, String> {
    if file.is_none() && directories.is_none() {
        return Ok(None);
    }
    let is_set = |text: &OsString| !text.is_empty();
    let (file, directories) = (file.filter(is_set), directories.filter(is_set));
    let mut found = Vec::new();
    if file.is_none() && directories.is_none() {
        let usual = openssl_probe::probe();
        take(
            &mut found,
            load_certs_from_paths(usual.cert_file.as_deref(), None),
        );
        for directory in &usual.cert_dir {
            take(&mut found, load_certs_from_paths(None, Some(directory)));
        }
        return Ok((!found.is_empty()).then_some(found));
    }
    if let Some(file) = &file {
        let path = Path::new(file);
        let problem = take(&mut found, load_certs_from_paths(Some(path), None));
        if found.is_empty() {
            return Err(unusable(
                FILE,
                path,
                problem.as_deref(),
                "a file with PEM certificates",
            ));
        }
    }
    if let Some(directories) = &directories {
        let before = found.len();
        let mut problem = None;
        for directory in env::split_paths(directories).filter(|path| !path.as_os_str().is_empty()) {
            problem = take(&mut found, load_certs_from_paths(None, Some(&directory))).or(problem);
        }
        if found.len() == before {
            let path = Path::new(directories);
            let right = "directories of files with PEM certificates, separated by `:`";
            return Err(unusable(DIRECTORIES, path, problem.as_deref(), right));
        }
    }
    Ok(Some(found))
}

/// Adds the certificates that were read, and returns the first problem. A certificate that cannot be an authority's is
/// skipped: one odd certificate in a bundle of a hundred must not disable the others.
fn take(found: &mut Vec<Certificate>, read: CertificateResult) -> Option<String> {
    let certificates = read.certs.into_iter();
    let usable = certificates.filter(|der| RootCertStore::empty().add(der.clone()).is_ok());
    found.extend(usable.filter_map(|der| Certificate::from_der(&der).ok()));
    read.errors.first().map(ToString::to_string)
}

fn unusable(variable: &str, path: &Path, problem: Option<&str>, right: &str) -> String {
    let problem = problem.map(|problem| format!(" ({problem})")).unwrap_or_default();
    format!(
        "{variable} is {}, which contains no readable certificate{problem}: it must name {right}; unset it to use the \
         machine's certificates (package ca-certificates)",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs;

    use super::choose;

    #[test]
    fn p14_the_error_names_the_variable_and_the_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("empty.pem"), "").unwrap();
        fs::write(path("garbage.pem"), [0x30, 0x82, 1, 2, 3]).unwrap();
        fs::create_dir(path("none")).unwrap();
        for name in ["nowhere.pem", "empty.pem", "garbage.pem", "none"] {
            let said = choose(Some(path(name).into()), None).unwrap_err();
            assert!(
                said.starts_with(&format!("SSL_CERT_FILE is {}", path(name).display())),
                "{said}"
            );
            assert!(said.contains("a file with PEM certificates; unset it"), "{said}");
        }
        for name in ["nowhere", "none"] {
            let said = choose(None, Some(path(name).into())).unwrap_err();
            assert!(
                said.starts_with(&format!("SSL_CERT_DIR is {}", path(name).display())),
                "{said}"
            );
        }
    }

    #[test]
    fn p14_an_empty_variable_counts_as_unset() {
        let nothing = || Some(OsString::new());
        assert!(choose(None, None).unwrap().is_none());
        for (file, directories) in [(nothing(), None), (None, nothing()), (nothing(), nothing())] {
            assert!(choose(file, directories).is_ok());
        }
    }
}
