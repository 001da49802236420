//! Secrets by reference: `$env:NAME`, `$file:/path`. The environment and the files are handed in.

use std::io;
use std::path::{Component, Path, PathBuf};

use crate::base::settings::{Kept, Problem, SecretText};

/// Where secrets may come from.
pub struct Secrets<'a> {
    /// The environment.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Reads a whole file.
    pub files: &'a dyn Fn(&str) -> io::Result<Vec<u8>>,
    /// The only folder that `$file:` may name.
    pub dir: Option<&'a Path>,
    /// Whether references are left alone: for machines that do not have the secrets.
    pub skip: bool,
}

/// Largest secret file.
const SECRET_BYTES_MAX: usize = 64 * 1024;

impl Secrets<'_> {
    /// The secret itself, or what is wrong with its reference. Errors name the reference, never the value.
    pub fn resolve(&self, secret: &SecretText) -> Result<String, Problem> {
        let value = match secret.kept() {
            Kept::Env(_) | Kept::File(_) if self.skip => return Ok(String::from("not-looked-up")),
            Kept::Here(super::masked::MARK) => {
                return Err(Problem::error(&secret.place, "is what the API shows in place of a secret")
                    .expected("give the secret itself"));
            }
            Kept::Here(value) => value.to_owned(),
            Kept::Env(name) => (self.env)(name).ok_or_else(|| {
                Problem::error(&secret.place, format!("environment variable {name} is not set"))
                    .expected("set it for the gateway's process")
            })?,
            Kept::File(path) => self.read(path, secret)?,
            Kept::KeyFile(_) => {
                return Err(Problem::error(&secret.place, "is a key file")
                    .expected("key files are only for providers that take Google service accounts"));
            }
        };
        let value = value.trim_end_matches(['\n', '\r']).to_owned();
        match fault(&value) {
            None => Ok(value),
            Some(fault) => Err(Problem::error(&secret.place, format!("{} {fault}", called(secret)))),
        }
    }

    fn read(&self, path: &str, secret: &SecretText) -> Result<String, Problem> {
        let dir = self.dir.ok_or_else(|| {
            Problem::error(&secret.place, "refers to a file, and no folder for secrets was named")
                .expected("start with --secrets-dir FOLDER; $file: may name files in it only")
        })?;
        if !inside(dir, Path::new(path)) {
            return Err(Problem::error(&secret.place, format!("$file:{path} is not in {}", dir.display()))
                .expected("put the secret into the folder given by --secrets-dir"));
        }
        let full = dir.join(path);
        let bytes = (self.files)(&full.to_string_lossy()).map_err(|error| {
            Problem::error(&secret.place, format!("$file:{path} cannot be read: {error}"))
        })?;
        let text = String::from_utf8(bytes).ok().filter(|text| text.len() <= SECRET_BYTES_MAX);
        text.ok_or_else(|| {
            Problem::error(&secret.place, format!("$file:{path} is not a secret"))
                .expected(format!("expected UTF-8 text of at most {SECRET_BYTES_MAX} bytes"))
        })
    }
}

/// What keeps a text from being a secret that fits a header field.
fn fault(value: &str) -> Option<&'static str> {
    if value.is_empty() {
        return Some("is empty");
    }
    value.chars().any(char::is_control).then_some("has control characters in it")
}

fn called(secret: &SecretText) -> &str {
    match secret.kept() {
        Kept::Here(_) => "the secret",
        _ => secret.shown(),
    }
}

/// Whether a path stays in the folder as far as its letters tell; [`read_inside`] asks the file system too.
fn inside(dir: &Path, path: &Path) -> bool {
    let climbs = path.components().any(|part| matches!(part, Component::ParentDir));
    !climbs && (path.is_relative() || path.starts_with(dir))
}

/// Read a secret's file, links followed (ConfigMaps are links) but never out of the folder.
pub fn read_inside(dir: &Path, path: &str) -> io::Result<Vec<u8>> {
    let real: PathBuf = Path::new(path).canonicalize()?;
    if !real.starts_with(dir.canonicalize()?) {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "a link leads out of the secrets folder",
        ));
    }
    std::fs::read(real)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::settings::{Kind, Reader, Setting, Tree};

    fn resolve(written: &str, dir: Option<&str>) -> Result<String, String> {
        let mut reader = Reader::new("");
        let tree = Tree { at: 0, kind: Kind::Text(written.into()) };
        let secret = SecretText::read(&tree, &mut reader).expect("a string");
        let env = |name: &str| (name == "KEY").then(|| "from-env\n".to_owned());
        let files = |path: &str| match path {
            "/run/secrets/a" => Ok(b"from-file\n".to_vec()),
            "/run/secrets/split" => Ok(b"a\r\nb: c".to_vec()),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        let secrets = Secrets { env: &env, files: &files, dir: dir.map(Path::new), skip: false };
        secrets.resolve(&secret).map_err(|problem| problem.to_string())
    }

    #[test]
    fn references_lead_to_their_values() {
        let dir = Some("/run/secrets");
        assert_eq!(resolve("plain", None).as_deref(), Ok("plain"));
        assert_eq!(resolve("$env:KEY", None).as_deref(), Ok("from-env"));
        assert_eq!(resolve("$file:/run/secrets/a", dir).as_deref(), Ok("from-file"));
        assert_eq!(resolve("$file:a", dir).as_deref(), Ok("from-file"));
    }

    #[test]
    fn no_reference_reaches_out_of_the_folder() {
        for path in
            ["/etc/shadow", "../../etc/shadow", "/run/secrets/../../etc/shadow", "/run/secretsother/a"]
        {
            let refused = resolve(&format!("$file:{path}"), Some("/run/secrets")).expect_err(path);
            assert!(refused.contains("is not in"), "{refused}");
        }
        assert!(resolve("$file:/run/secrets/a", None).expect_err("no folder").contains("--secrets-dir"));
    }

    #[test]
    fn links_are_followed_but_not_out_of_the_folder() {
        let dir = tempfile::tempdir().expect("folder");
        let inner = dir.path().join("secrets");
        std::fs::create_dir(&inner).expect("folder");
        std::fs::write(inner.join("real"), "x").expect("file");
        std::fs::write(dir.path().join("outside"), "y").expect("file");
        std::os::unix::fs::symlink("real", inner.join("link")).expect("link");
        std::os::unix::fs::symlink("../outside", inner.join("escape")).expect("link");
        let read = |name: &str| read_inside(&inner, &inner.join(name).to_string_lossy());
        assert_eq!(read("link").expect("inside"), b"x");
        assert_eq!(read("escape").expect_err("outside").kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn what_would_break_a_head_is_no_secret_and_is_not_shown() {
        let refused = resolve("$file:split", Some("/run/secrets")).expect_err("control characters");
        assert!(refused.contains("control characters") && !refused.contains("b: c"), "{refused}");
        assert!(resolve("", None).is_err());
        assert!(resolve("$env:NONE", None).expect_err("unset").contains("NONE is not set"));
    }
}
