//! Secrets, in the configuration or in their own files.

use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::{Layers, Place, strength};
use crate::config::error::ConfigError;
use crate::config::setting::{Setting, file_key};
use crate::config::sources::Origin;

/// The directory in which systemd provides the credentials of services.
const CREDENTIALS: &str = "/run/credentials";

/// A placeholder for a secret that does not exist yet, so that the rest can be checked.
const STAND_IN: &str = "a credential of a service that does not run";

impl Layers<'_> {
    pub(in crate::config) fn secret(
        &mut self,
        place: &Place<'_>,
        setting: &Setting,
    ) -> Option<(SecretString, Origin)> {
        let key = place.key(setting.key);
        let written = self.text(place, setting);
        let path = self.path_of(place, setting);
        let (secret, origin) = match self.stronger(&key, written, path)? {
            Stronger::Written(text, origin) => (text, origin),
            Stronger::Path(path, origin) => (
                self.secret_file(&file_key(&key), Path::new(&path), &origin)?,
                origin,
            ),
        };
        if secret.trim().is_empty() {
            self.mistake(Some(origin), &key, "is empty");
            return None;
        }
        let secret = SecretString::from(secret.trim().to_owned());
        self.hide(&key, secret.clone(), origin.clone());
        Some((secret, origin))
    }

    /// Secrets in a list, or in a file with one per line.
    pub(in crate::config) fn secrets(
        &mut self,
        place: &Place<'_>,
        setting: &Setting,
    ) -> Option<Vec<(SecretString, Origin)>> {
        let key = place.key(setting.key);
        let list = self.list(place, setting).map(|found| (found.list, found.origin));
        let path = self.path_of(place, setting);
        let secrets = match self.stronger(&key, list, path)? {
            Stronger::Written(list, _) => list,
            Stronger::Path(path, origin) => {
                let path_key = file_key(&key);
                let text = self.secret_file(&path_key, Path::new(&path), &origin)?;
                self.show(&path_key, path, origin.clone());
                let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
                let secrets: Vec<_> = lines.map(|line| (line.to_owned(), origin.clone())).collect();
                if secrets.is_empty() {
                    self.mistake(Some(origin), &path_key, "names a file that contains no secret");
                }
                secrets
            }
        };
        let secrets = secrets.into_iter();
        Some(secrets.map(|(secret, origin)| (secret.into(), origin)).collect())
    }

    /// The stronger of a secret and its file. If one source sets both, that is a mistake.
    fn stronger<T>(
        &mut self,
        key: &str,
        written: Option<(T, Origin)>,
        path: Option<(String, Origin)>,
    ) -> Option<Stronger<T>> {
        match (written, path) {
            (Some((_, origin)), Some((_, other))) if strength(&origin) == strength(&other) => {
                let message = format!("{key} is set too: keep one of them");
                self.mistake(Some(other), &file_key(key), message);
                None
            }
            (written, Some((path, other)))
                if written
                    .as_ref()
                    .is_none_or(|(_, origin)| strength(origin) < strength(&other)) =>
            {
                Some(Stronger::Path(path, other))
            }
            (written, _) => written.map(|(written, origin)| Stronger::Written(written, origin)),
        }
    }

    /// The path of a secret's file.
    fn path_of(&mut self, place: &Place<'_>, setting: &Setting) -> Option<(String, Origin)> {
        let local = file_key(setting.key);
        let variables = place.variables(setting).into_iter();
        let variables: Vec<String> = variables.map(|variable| format!("{variable}_FILE")).collect();
        self.find(&place.key(&local), &variables, place.written(&local))
    }

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

    /// Whether a path leads to systemd credentials that are missing because their service is not running. Adds a note, if
    /// that is not a mistake.
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
            "{} was not checked: systemd creates {} when the service starts",
            path.display(),
            directory.display()
        );
        self.notes
            .push(ConfigError::new(Some(origin.clone()), key, message));
        true
    }
}

enum Stronger<T> {
    Written(T, Origin),
    Path(String, Origin),
}

/// The directory of the service whose credential a path names.
fn credentials_of(path: &Path) -> Option<PathBuf> {
    let service = path.strip_prefix(CREDENTIALS).ok()?.components().next()?;
    Some(Path::new(CREDENTIALS).join(service))
}
