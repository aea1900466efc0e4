//! Secrets, written out or in files of their own.

use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::{Layers, Place, strength};
use crate::config::error::ConfigError;
use crate::config::setting::{Setting, file_key};
use crate::config::sources::Origin;

/// Where systemd gives a service its credentials.
const CREDENTIALS: &str = "/run/credentials";

/// Stands in for a secret that is not there yet, so that the rest can be checked.
const STAND_IN: &str = "a credential of a service that does not run";

impl Layers<'_> {
    /// A secret, written out or in a file of its own.
    pub(in crate::config) fn secret(
        &mut self,
        place: &Place<'_>,
        setting: &Setting,
    ) -> Option<(SecretString, Origin)> {
        let key = place.key(setting.key);
        let written = self.text(place, setting);
        let path = self.path_of(place, setting);
        let (secret, origin) = match stronger(written, path) {
            Stronger::Neither => return None,
            Stronger::Written(text, origin) => (text, origin),
            Stronger::Path(path, origin) => {
                let path_key = file_key(&key);
                (self.secret_file(&path_key, Path::new(&path), &origin)?, origin)
            }
            Stronger::Both(origin) => {
                self.given_twice(&key, origin);
                return None;
            }
        };
        if secret.trim().is_empty() {
            self.mistake(Some(origin), &key, "is empty");
            return None;
        }
        let secret = SecretString::from(secret.trim().to_owned());
        self.hide(&key, secret.clone(), origin.clone());
        Some((secret, origin))
    }

    /// Secrets in a list, or in a file with one in each line.
    pub(in crate::config) fn secrets(
        &mut self,
        place: &Place<'_>,
        setting: &Setting,
    ) -> Option<Vec<(SecretString, Origin)>> {
        let key = place.key(setting.key);
        let list = self.list(place, setting).map(|found| (found.list, found.origin));
        let path = self.path_of(place, setting);
        let secrets = match stronger(list, path) {
            Stronger::Neither => return None,
            Stronger::Written(list, _) => list,
            Stronger::Path(path, origin) => {
                let path_key = file_key(&key);
                let text = self.secret_file(&path_key, Path::new(&path), &origin)?;
                self.show(&path_key, path, origin.clone());
                let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
                let secrets: Vec<_> = lines.map(|line| (line.to_owned(), origin.clone())).collect();
                if secrets.is_empty() {
                    self.mistake(Some(origin), &path_key, "names a file that has no secret in it");
                }
                secrets
            }
            Stronger::Both(origin) => {
                self.given_twice(&key, origin);
                return None;
            }
        };
        let secrets = secrets.into_iter();
        Some(secrets.map(|(secret, origin)| (secret.into(), origin)).collect())
    }

    fn given_twice(&mut self, key: &str, path: Origin) {
        let message = format!("{key} is given too: keep one of them");
        self.mistake(Some(path), &file_key(key), message);
    }

    /// The file that a secret is in.
    fn path_of(&mut self, place: &Place<'_>, setting: &Setting) -> Option<(String, Origin)> {
        let local = file_key(setting.key);
        let variables = place.variables(setting).into_iter();
        let variables: Vec<String> = variables.map(|variable| format!("{variable}_FILE")).collect();
        self.find(&place.key(&local), &variables, place.written(&local))
    }

    /// Reads the file of a secret.
    pub(in crate::config) fn secret_file(
        &mut self,
        key: &str,
        path: &Path,
        origin: &Origin,
    ) -> Option<String> {
        match crate::keys::read_secret(path) {
            Ok((text, exposed)) => {
                if exposed {
                    self.warn_at(Some(origin.clone()), key, crate::keys::exposed(path));
                }
                Some(text)
            }
            Err(_) if self.waits_for_the_service(key, path, origin) => Some(STAND_IN.to_owned()),
            Err(error) => {
                let message = format!("cannot read {}: {error}", path.display());
                self.mistake(Some(origin.clone()), key, message);
                None
            }
        }
    }

    /// Whether a path leads to systemd credentials that are not there because their service does not run. Notes it, where
    /// that is no mistake.
    pub(in crate::config) fn waits_for_the_service(
        &mut self,
        key: &str,
        path: &Path,
        origin: &Origin,
    ) -> bool {
        if !self.sources.before_start {
            return false;
        }
        let Some(directory) = credentials_of(path).filter(|directory| !directory.exists()) else {
            return false;
        };
        let message = format!(
            "{} was not looked at: systemd makes {} when the service starts",
            path.display(),
            directory.display()
        );
        self.notes.push(ConfigError {
            origin: Some(origin.clone()),
            key: key.to_owned(),
            message,
        });
        true
    }
}

/// Which of two ways to give a secret counts.
enum Stronger<T> {
    Neither,
    Written(T, Origin),
    Path(String, Origin),
    /// Both, from one source; the place of the path.
    Both(Origin),
}

fn stronger<T>(written: Option<(T, Origin)>, path: Option<(String, Origin)>) -> Stronger<T> {
    match (written, path) {
        (None, None) => Stronger::Neither,
        (Some((written, origin)), None) => Stronger::Written(written, origin),
        (None, Some((path, origin))) => Stronger::Path(path, origin),
        (Some((written, origin)), Some((path, other))) => match strength(&origin).cmp(&strength(&other)) {
            std::cmp::Ordering::Greater => Stronger::Written(written, origin),
            std::cmp::Ordering::Less => Stronger::Path(path, other),
            std::cmp::Ordering::Equal => Stronger::Both(other),
        },
    }
}

/// The directory of the service whose credential a path names.
fn credentials_of(path: &Path) -> Option<PathBuf> {
    let service = path.strip_prefix(CREDENTIALS).ok()?.components().next()?;
    Some(Path::new(CREDENTIALS).join(service))
}
