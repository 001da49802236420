//! What is watched while weir runs: the configuration, minted keys, certificates. A good change is put in force whole,
//! a bad one leaves the old and says why.
//!
//! Files are looked at by their place, length and time of change, links followed: a swapped link, a renamed file and
//! one written in place all show. Deliberately absent: notices of the kernel, which see none of a swapped link's target,
//! and threads: the control thread calls [`Reloader::look`] now and then.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::certificates::{self, PerListener};
use super::compile::{self, Install, Listen, Loaded, Tls};
use super::secret::read_inside;
use super::{embedded, keys};
use crate::base::settings::{Place, Problem};
use crate::policy::identity::key::KeyRing;
use crate::policy::snapshot::{Listener, Snapshot};

/// Where the configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The file; none: the embedded default, which never changes.
    pub file: Option<PathBuf>,
    /// How it is loaded.
    pub options: compile::Options,
}

impl Source {
    /// Read, check, resolve.
    pub fn load(&self) -> Result<Loaded, Vec<Problem>> {
        let env = |name: &str| std::env::var(name).ok();
        let Some(path) = &self.file else { return Ok(embedded::embedded(&env, &self.options)) };
        let unreadable = |why: &dyn std::fmt::Display| {
            vec![Problem::error(&Place::default(), format!("{}: {why}", path.display()))]
        };
        let bytes = std::fs::read(path).map_err(|why| unreadable(&why))?;
        let text = String::from_utf8(bytes).map_err(|why| unreadable(&why))?;
        self.compile(&text)
    }

    /// Check and resolve a text as if it stood in the file.
    pub fn compile(&self, text: &str) -> Result<Loaded, Vec<Problem>> {
        let env = |name: &str| std::env::var(name).ok();
        // A mark that editors leave at the front is no part of the text.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        // Only reached where a folder for secrets is named; links in it may not lead out of it.
        let dir = self.options.secrets_dir.as_deref().unwrap_or(Path::new("/nonexistent"));
        let files = |name: &str| read_inside(dir, name);
        compile::load(text, &env, &files, &self.options)
    }
}

/// What tells one state of a file from the next; none: it is not there.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

fn stamp(path: &Path) -> Stamp {
    let seen = std::fs::metadata(path).ok()?;
    Some((seen.dev(), seen.ino(), seen.len(), seen.mtime(), seen.mtime_nsec()))
}

/// Files and the state they were last looked at in.
#[derive(Debug, Default)]
struct Watched(Vec<(PathBuf, Stamp)>);

impl Watched {
    fn over(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(paths.into_iter().map(|path| (path.clone(), stamp(&path))).collect())
    }

    /// Whether any of them is in another state than at the last look.
    fn changed(&mut self) -> bool {
        let before: Vec<Stamp> = self.0.iter().map(|(_, stamp)| *stamp).collect();
        self.0.iter_mut().for_each(|(path, seen)| *seen = stamp(path));
        self.0.iter().map(|(_, stamp)| *stamp).ne(before)
    }
}

/// What a look found; what is absent has not changed, or was bad.
#[derive(Default)]
pub struct Found {
    /// Another configuration.
    pub snapshot: Option<Arc<Snapshot>>,
    /// Other keys.
    pub keys: Option<Arc<KeyRing>>,
    /// Other certificates.
    pub tls: Option<PerListener>,
    /// What somebody should look at in the configuration now in force.
    pub warnings: Vec<Problem>,
    /// Why something was not put in force.
    pub refused: Vec<Problem>,
}

impl Found {
    /// Whether there is nothing new, good or bad.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.snapshot.is_none() && self.keys.is_none() && self.tls.is_none() && self.refused.is_empty()
    }
}

/// The one who looks.
pub struct Reloader {
    source: Source,
    data: PathBuf,
    /// Listeners as they were bound: later files say how they know their clients, not where they are.
    bound: Vec<Listen>,
    /// What takes a restart to change.
    install: Option<Install>,
    tls: Vec<Option<Tls>>,
    config: Watched,
    keys: Watched,
    certificates: Watched,
}

impl Reloader {
    /// Over what was put in force at the start.
    #[must_use]
    pub fn new(source: Source, install: Option<Install>, data: &Path, bound: Vec<Listen>) -> Self {
        let tls: Vec<_> = bound.iter().map(|listen| listen.tls.clone()).collect();
        Self {
            config: Watched::over(source.file.clone()),
            keys: Watched::over([data.join(keys::FILE_NAME)]),
            certificates: Watched::over(files_of(&tls)),
            install,
            source,
            data: data.to_owned(),
            bound,
            tls,
        }
    }

    /// Look whether anything has changed; `all`: read it whether it has or not.
    pub fn look(&mut self, all: bool) -> Found {
        let mut found = Found::default();
        if (self.config.changed() || all) && self.source.file.is_some() {
            self.look_at_config(&mut found);
        }
        if self.keys.changed() || all {
            match keys::ring(&self.data) {
                Ok(ring) => found.keys = Some(Arc::new(ring)),
                Err(why) => found.refused.push(refused(&self.data.join(keys::FILE_NAME), &why)),
            }
        }
        if found.tls.is_none() && (self.certificates.changed() || all) {
            match tls_of(&self.tls) {
                Ok(tls) => found.tls = Some(tls),
                Err(why) => found.refused.push(Problem::error(&Place::default(), why)),
            }
        }
        found
    }

    fn look_at_config(&mut self, found: &mut Found) {
        let loaded = match self.source.load() {
            Ok(loaded) => loaded,
            Err(problems) => return found.refused.extend(problems),
        };
        let matched = match_listeners(&self.bound, &loaded.install);
        let tls = match tls_of(&matched.tls) {
            Ok(tls) => tls,
            // A file that names a certificate that is not there is a bad file.
            Err(why) => return found.refused.push(Problem::error(&Place::default(), why)),
        };
        let mut snapshot = loaded.snapshot;
        snapshot.listeners = matched.rules;
        found.snapshot = Some(Arc::new(snapshot));
        found.tls = Some(tls);
        found.warnings = loaded.warnings;
        found.warnings.extend(matched.warnings);
        if let Some(before) = &self.install {
            found.warnings.extend(takes_a_restart(before, &loaded.install));
        }
        self.certificates = Watched::over(files_of(&matched.tls));
        self.tls = matched.tls;
    }
}

/// TLS of listeners in their order.
pub fn tls_of(listeners: &[Option<Tls>]) -> Result<PerListener, String> {
    let one = |tls: &Option<Tls>| tls.as_ref().map(certificates::server_config).transpose();
    listeners.iter().map(one).collect::<Result<_, _>>().map(Arc::new)
}

fn files_of(tls: &[Option<Tls>]) -> Vec<PathBuf> {
    let files = |tls: &Tls| [Some(tls.cert.clone()), Some(tls.key.clone()), tls.client_ca.clone()];
    tls.iter().flatten().flat_map(files).flatten().collect()
}

fn refused(path: &Path, why: &io::Error) -> Problem {
    Problem::error(&Place::default(), format!("{}: {why}", path.display()))
}

struct Matched {
    rules: Vec<Listener>,
    tls: Vec<Option<Tls>>,
    warnings: Vec<Problem>,
}

/// What another file says about the listeners that are bound.
fn match_listeners(bound: &[Listen], install: &Install) -> Matched {
    let mut matched = Matched { rules: Vec::new(), tls: Vec::new(), warnings: Vec::new() };
    let mut written: Vec<&Listen> = install.listen.iter().chain(&install.admin_listen).collect();
    for old in bound {
        // Each once: several may ask for any free port.
        let at = written.iter().position(|new| new.address == old.address);
        let new = at.map(|at| written.remove(at));
        matched.rules.push(new.map_or_else(Listener::of_nobody, |new| new.rules()));
        matched.tls.push(new.map_or_else(|| old.tls.clone(), |new| new.tls.clone()));
        if new.is_none() {
            let what = format!("{} is no longer in the file: it knows nobody from now on", old.address);
            matched.warnings.push(Problem::warning(&Place::default(), what).expected("restart to close it"));
        }
    }
    for new in written {
        let what = format!("{} is new in the file", new.address);
        matched.warnings.push(Problem::warning(&Place::default(), what).expected("restart to listen there"));
    }
    matched
}

fn takes_a_restart(before: &Install, now: &Install) -> Vec<Problem> {
    [
        ("server.cores", before.cores != now.cores),
        ("server.pin", before.pin != now.pin),
        ("server.writer", before.writer != now.writer),
        ("server.drain_timeout", before.drain_timeout != now.drain_timeout),
        ("server.ca_file", before.ca_file != now.ca_file),
        ("server.quota_store", before.quota_store != now.quota_store),
    ]
    .into_iter()
    .filter(|(_, changed)| *changed)
    .map(|(key, _)| {
        let place = Place { path: key.into(), ..Place::default() };
        Problem::warning(&place, "has changed, which takes a restart")
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::Address;
    use crate::policy::identity::key::mint;

    const FILE: &str = r#"{"server": {"listen": ["127.0.0.1:1", "127.0.0.1:2"]},
        "providers": {"a": {"baseurl": "https://a.example.com", "models": ["m"], "apikey": "x"}},
        "grants": [{"src": ["*"], "app": {"weir": [{"role": "user"}, {"models": "**"}]}}]}"#;

    fn started(dir: &Path, text: &str) -> (PathBuf, Reloader) {
        let file = dir.join("weir.hujson");
        std::fs::write(&file, text).expect("written");
        let source = Source { file: Some(file.clone()), ..Source::default() };
        let install = source.load().expect("good").install;
        let bound = install.listen.clone();
        (file, Reloader::new(source, Some(install), dir, bound))
    }

    #[test]
    fn a_good_file_is_found_once_and_a_bad_one_is_said_once() {
        let dir = tempfile::tempdir().expect("folder");
        let (file, mut reloader) = started(dir.path(), FILE);
        assert!(reloader.look(false).is_nothing(), "nothing has changed");
        std::fs::write(&file, FILE.replace("[\"m\"]", "[\"m\", \"other\"]")).expect("written");
        let found = reloader.look(false);
        assert_eq!(found.snapshot.expect("another").providers[0].models.len(), 2);
        assert!(reloader.look(false).is_nothing());
        std::fs::write(&file, "{\"grants\": 7").expect("written");
        let found = reloader.look(false);
        assert!(found.snapshot.is_none() && !found.refused.is_empty());
        assert!(reloader.look(false).is_nothing(), "said once");
        assert!(!reloader.look(true).refused.is_empty(), "and again when asked");
        std::fs::remove_file(&file).expect("removed");
        let found = reloader.look(false);
        assert!(found.snapshot.is_none() && found.refused[0].what.contains("weir.hujson"));
    }

    #[test]
    fn a_swapped_link_is_seen() {
        let dir = tempfile::tempdir().expect("folder");
        for (version, text) in [("v1", FILE.to_owned()), ("v2", FILE.replace("[\"m\"]", "[\"other\"]"))] {
            std::fs::create_dir(dir.path().join(version)).expect("folder");
            std::fs::write(dir.path().join(version).join("weir.hujson"), text).expect("written");
        }
        let link = dir.path().join("current");
        std::os::unix::fs::symlink("v1", &link).expect("link");
        let source = Source { file: Some(link.join("weir.hujson")), ..Source::default() };
        let mut reloader = Reloader::new(source, None, dir.path(), Vec::new());
        assert!(reloader.look(false).is_nothing());
        // As a ConfigMap is swapped: another link, renamed over the first.
        std::os::unix::fs::symlink("v2", dir.path().join("next")).expect("link");
        std::fs::rename(dir.path().join("next"), &link).expect("renamed");
        assert!(reloader.look(false).snapshot.is_some());
    }

    #[test]
    fn listeners_keep_their_order_and_what_takes_a_restart_is_said() {
        let dir = tempfile::tempdir().expect("folder");
        let (file, mut reloader) = started(dir.path(), FILE);
        let moved = FILE.replace(
            "[\"127.0.0.1:1\", \"127.0.0.1:2\"]",
            "[{\"address\": \"127.0.0.1:2\", \"identity\": [\"key\"]}, \"127.0.0.1:3\"]",
        );
        std::fs::write(&file, moved).expect("written");
        let found = reloader.look(false);
        let listeners = &found.snapshot.expect("another").listeners;
        assert_eq!(listeners[0], Listener::of_nobody());
        assert_eq!(listeners[1].identity, [crate::policy::identity::settings::SourceKind::Key]);
        let warnings: Vec<_> = found.warnings.iter().map(|warning| warning.what.as_str()).collect();
        assert!(warnings.iter().any(|what| what.starts_with("127.0.0.1:1 is no longer")), "{warnings:?}");
        assert!(warnings.iter().any(|what| what.starts_with("127.0.0.1:3 is new")), "{warnings:?}");
        assert_eq!(Address::parse("unix:/a").expect("address").to_string(), "unix:/a");
    }

    #[test]
    fn keys_are_read_when_they_change_and_a_broken_file_leaves_the_old() {
        let dir = tempfile::tempdir().expect("folder");
        let (_, mut reloader) = started(dir.path(), FILE);
        let minted = mint("ci", 1, None, Vec::new()).expect("minted");
        keys::write(dir.path(), std::slice::from_ref(&minted.row)).expect("written");
        let ring = reloader.look(false).keys.expect("other keys");
        assert!(ring.judge(&minted.key, 2).is_ok());
        std::fs::write(dir.path().join(keys::FILE_NAME), "garbage").expect("written");
        let found = reloader.look(false);
        assert!(found.keys.is_none() && found.refused[0].what.contains(keys::FILE_NAME));
    }
}
