//! `weir setup CLIENT`: the client's settings that point it at a gateway, printed or written.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::Failure;
use super::check::LoadingArgs;
use super::socket::Socket;
use super::source::DataArgs;
use super::table::write_json_line;
use crate::base::clock;
use crate::config::Loaded;
use crate::config::clients::{Client, Gateway, Joins, NO_KEY, SettingsFile, Setup, pretty, setup};
use crate::config::compile::DEFAULT_LISTEN;
use crate::config::urls::urls;

/// The settings of a client program that point it at the gateway.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  weir setup claude-code                                print what to set
  weir setup claude-code --write                        write it into ~/.claude/settings.json
  weir setup codex --config weir.hujson                 for the gateway of that file
  weir setup codex --url https://weir.corp.example      a gateway elsewhere
  weir setup opencode --json                            for a program
  weir setup sdk --url https://weir.corp.example --key weir_… --ca /etc/ssl/corp.pem

Without --url: where the file of --config listens, else the gateway that runs over --data, else http://127.0.0.1:8080.
--write keeps what a file holds besides, and leaves the old file beside it (.before-weir).")]
pub struct SetupArgs {
    /// The client.
    #[arg(value_enum)]
    pub client: Client,
    /// Where the gateway listens; found where it can be.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The gateway's configuration: by its listeners, TLS and names.
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    pub config: Option<PathBuf>,
    /// Where the running gateway is found.
    #[command(flatten)]
    pub data: DataArgs,
    /// A key of the gateway's (weir key create), where it knows its clients by that.
    #[arg(long, value_name = "KEY", default_value = NO_KEY)]
    pub key: String,
    /// The authority of the gateway's certificate, where the system does not know it.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<String>,
    /// Write the client's own settings files.
    #[arg(long)]
    pub write: bool,
    /// Home folder, instead of yours.
    #[arg(long, value_name = "DIR", hide = true)]
    pub home: Option<PathBuf>,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
}

impl SetupArgs {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let url = checked(&self.found()?)?;
        let (key, ca) = (plain(&self.key)?, self.ca.as_deref().map(plain).transpose()?);
        let setup = setup(self.client, &Gateway { url: &url, key, ca });
        if self.write {
            return self.write(&setup, out);
        }
        if self.json {
            return Ok(write_json_line(&setup, out)?);
        }
        writeln!(out, "# {}, at {url}", setup.name)?;
        if url.starts_with("https://") && ca.is_none() {
            writeln!(out, "# (where the system does not know the authority of its certificate: --ca FILE)")?;
        }
        if !setup.shell.is_empty() {
            writeln!(out, "# in a shell\n{}\n", setup.shell)?;
        }
        for file in &setup.files {
            writeln!(out, "# for good, in ~/{}\n{}", file.path, file.content)?;
        }
        Ok(writeln!(out, "# {}", setup.note)?)
    }

    /// Where the gateway is: as said, as the file says, as the running one says, or where it is by default.
    fn found(&self) -> Result<String, Failure> {
        if let Some(url) = &self.url {
            return Ok(url.clone());
        }
        let urls = match (&self.config, Socket::open(&self.data.data)) {
            (Some(file), _) => listening(&LoadingArgs::default().look_at(file)?),
            (None, Some(gateway)) => gateway.urls()?,
            (None, None) => vec![format!("http://{DEFAULT_LISTEN}")],
        };
        let reachable = urls.into_iter().find(|url| url.starts_with("http"));
        Ok(reachable.ok_or("no address that a client takes is known (unix sockets, or a port that is chosen at the start): give --url")?)
    }

    fn write(&self, setup: &Setup, out: &mut dyn Write) -> Result<(), Failure> {
        let home = self.home.clone().or_else(|| std::env::var_os("HOME").map(PathBuf::from));
        let home = home.ok_or("HOME is not set: nowhere to write")?;
        if setup.files.is_empty() {
            return Err(format!("{} has no settings file to write. {}", setup.name, setup.note).into());
        }
        // All are read and joined before any is replaced: half a setting is worse than none.
        let edits: Vec<Edit> =
            setup.files.iter().map(|file| Edit::of(&home, file)).collect::<Result<_, _>>()?;
        for edit in &edits {
            let changed = edit.new != edit.old;
            if changed {
                replace(&edit.path, &edit.old, &edit.new)?;
            }
            if self.json {
                write_json_line(&serde_json::json!({"file": edit.path, "changed": changed}), out)?;
            } else {
                let what = if changed { "written" } else { "already as it should be" };
                writeln!(out, "{}: {what}", edit.path.display())?;
            }
        }
        if self.json { Ok(()) } else { Ok(writeln!(out, "{}", setup.note)?) }
    }
}

/// Where a gateway of this file listens for agents. A port of 0 is known to the running one alone.
fn listening(loaded: &Loaded) -> Vec<String> {
    let mut urls = urls(&loaded.install.listen, &[], &loaded.snapshot.host_names);
    urls.retain(|url| !url.ends_with(":0"));
    urls
}

/// A file as it stands and as it will.
struct Edit {
    path: PathBuf,
    old: String,
    new: String,
}

impl Edit {
    fn of(home: &Path, file: &SettingsFile) -> Result<Edit, Failure> {
        let path = home.join(file.path);
        let at = |why: String| format!("{}: {why}", path.display());
        let old = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(why) if why.kind() == io::ErrorKind::NotFound => String::new(),
            Err(why) => return Err(at(why.to_string()).into()),
        };
        let new = joined(&old, &file.joins).map_err(at)?;
        Ok(Edit { path, old, new })
    }
}

/// What may stand between quotes in any of the files.
fn plain(text: &str) -> Result<&str, Failure> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_./:+=~".contains(c);
    if text.is_empty() || !text.chars().all(fits) {
        return Err("a key or a file name may hold letters, digits and -_./:+=~ only".into());
    }
    Ok(text)
}

/// Scheme and authority, without a slash at the end: clients append their own paths.
fn checked(url: &str) -> Result<String, Failure> {
    let bare = url.trim_end_matches('/');
    let rest = bare.strip_prefix("http://").or_else(|| bare.strip_prefix("https://"));
    match rest {
        Some(host) if !host.is_empty() && !host.contains(['/', ' ', '"', '\'', '\\', '?', '#']) => {
            Ok(bare.into())
        }
        _ => Err(format!("{url}: write it as http://HOST:PORT, without a path").into()),
    }
}

/// The file's text with the settings in it.
fn joined(old: &str, joins: &Joins) -> Result<String, String> {
    match joins {
        Joins::Json(value) => join_json(old, value),
        Joins::Toml { top, table } => Ok(join_toml(old, top, table)),
        Joins::Lines(between, lines) => Ok(join_lines(old, between, lines)),
    }
}

fn join_json(old: &str, value: &Value) -> Result<String, String> {
    if old.trim().is_empty() {
        return Ok(pretty(value));
    }
    // Read strictly: writing a file with comments anew would drop them, and those are somebody's words.
    let mut whole: Value = serde_json::from_str(old)
        .map_err(|why| format!("is no plain JSON ({why}); if it has comments, merge the settings by hand"))?;
    if !whole.is_object() {
        return Err("is no JSON object; merge the settings by hand".into());
    }
    let before = whole.clone();
    merge(&mut whole, value);
    if whole == before {
        return Ok(old.to_owned());
    }
    Ok(pretty(&whole))
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// Keys at the top replace those of the same name; the table replaces its namesake, all else stays as it stands.
fn join_toml(old: &str, top: &[(&str, String)], (name, lines): &(&str, Vec<String>)) -> String {
    let head = format!("[{name}]");
    let is_table = |line: &str| line.trim_start().starts_with('[');
    let is_ours = |line: &str| {
        let key = line.split('=').next().unwrap_or_default().trim();
        top.iter().any(|(ours, _)| *ours == key)
    };
    let mut text: Vec<String> = top.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    let mut in_table = None;
    for line in old.lines() {
        if is_table(line) {
            in_table = Some(line.trim() == head);
        }
        let skip = match in_table {
            None => is_ours(line),
            Some(ours) => ours,
        };
        if !skip {
            text.push(line.to_owned());
        }
    }
    while text.last().is_some_and(|line| line.trim().is_empty()) {
        text.pop();
    }
    text.extend([String::new(), head]);
    text.extend(lines.iter().cloned());
    format!("{}\n", text.join("\n"))
}

fn join_lines(old: &str, between: &str, lines: &[(&str, String)]) -> String {
    let is_ours = |line: &str| {
        let name =
            line.trim_start_matches("export ").split(between.trim()).next().unwrap_or_default().trim_end();
        lines.iter().any(|(ours, _)| *ours == name)
    };
    let mut text: Vec<String> = old.lines().filter(|line| !is_ours(line)).map(str::to_owned).collect();
    text.extend(lines.iter().map(|(name, value)| format!("{name}{between}{value}")));
    format!("{}\n", text.join("\n"))
}

/// The old file is kept beside the new one, which appears whole or not at all.
fn replace(path: &Path, old: &str, new: &str) -> Result<(), Failure> {
    let at = |why: io::Error| format!("{}: {why}", path.display());
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(at)?;
    }
    if !old.is_empty() {
        std::fs::copy(path, beside(".before-weir")).map_err(at)?;
    }
    let fresh = beside(&format!(".{:x}", clock::wall()));
    std::fs::write(&fresh, new).map_err(at)?;
    if let Ok(meta) = std::fs::metadata(path) {
        std::fs::set_permissions(&fresh, meta.permissions()).map_err(at)?;
    }
    Ok(std::fs::rename(&fresh, path).map_err(at)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://127.0.0.1:8080";
    const GATEWAY: Gateway<'_> = Gateway { url: URL, key: NO_KEY, ca: None };

    fn joins(client: Client, file: usize) -> Joins {
        setup(client, &GATEWAY).files[file].joins.clone()
    }

    #[test]
    fn json_settings_join_what_is_there() {
        let joins = joins(Client::ClaudeCode, 0);
        let new = joined(r#"{"model":"opus","env":{"A":"1","ANTHROPIC_BASE_URL":"old"}}"#, &joins).unwrap();
        let value: Value = serde_json::from_str(&new).unwrap();
        assert_eq!(value["model"], "opus");
        assert_eq!(value["env"]["A"], "1");
        assert_eq!(value["env"]["ANTHROPIC_BASE_URL"], URL);
        assert_eq!(joined(&new, &joins).unwrap(), new, "a second time changes nothing");
        assert!(joined("{\"a\": 1, // mine\n}", &joins).unwrap_err().contains("comments"));
        assert!(joined("[1]", &joins).is_err());
    }

    #[test]
    fn toml_settings_replace_their_namesakes_only() {
        let joins = joins(Client::Codex, 0);
        let old = "model = \"gpt-5.2\"\nmodel_provider = \"openai\"\n\n[model_providers.weir]\nbase_url = \"old\"\n\n\
                   [tui]\nmodel_provider = \"x\"\n";
        let new = joined(old, &joins).unwrap();
        assert!(new.starts_with("model_provider = \"weir\"\nmodel = \"gpt-5.2\"\n"), "{new}");
        assert!(new.contains("[tui]\nmodel_provider = \"x\"\n"), "{new}");
        assert!(!new.contains("old") && new.contains("base_url = \"http://127.0.0.1:8080/v1\""), "{new}");
        assert_eq!(joined(&new, &joins).unwrap(), new);
    }

    #[test]
    fn env_lines_replace_their_namesakes_only() {
        let joins = joins(Client::Gemini, 0);
        let new = joined("A=1\nexport GEMINI_API_KEY=secret\n", &joins).unwrap();
        assert_eq!(new, "A=1\nGOOGLE_GEMINI_BASE_URL=http://127.0.0.1:8080\nGEMINI_API_KEY=-\n");
        assert_eq!(joined(&new, &joins).unwrap(), new);
        let yaml = self::joins(Client::Aider, 0);
        let new = joined("model: x\nopenai-api-base: old\n", &yaml).unwrap();
        assert_eq!(new, "model: x\nopenai-api-base: http://127.0.0.1:8080/v1\nopenai-api-key: \"-\"\n");
    }

    #[test]
    fn all_files_or_none() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join(".gemini")).unwrap();
        std::fs::write(home.path().join(".gemini/settings.json"), "// mine\n{}").unwrap();
        let args = |client| SetupArgs {
            client,
            url: Some(URL.into()),
            config: None,
            data: DataArgs { data: home.path().to_owned() },
            key: NO_KEY.into(),
            ca: None,
            write: true,
            home: Some(home.path().to_owned()),
            json: false,
        };
        assert!(args(Client::Gemini).run(&mut Vec::new()).is_err());
        assert!(!home.path().join(".gemini/.env").exists());
        std::fs::write(home.path().join(".gemini/settings.json"), "{\"a\": 1}").unwrap();
        args(Client::Gemini).run(&mut Vec::new()).unwrap();
        assert!(home.path().join(".gemini/.env").exists());
        assert!(args(Client::Cursor).run(&mut Vec::new()).is_err(), "there is no file of its");
        let odd = SetupArgs { key: "a\"b".into(), ..args(Client::Codex) };
        assert!(odd.run(&mut Vec::new()).is_err());
    }

    #[test]
    fn writing_keeps_the_old_file() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(".claude/settings.json");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "{\"model\": \"opus\"}\n").unwrap();
        let args = SetupArgs {
            client: Client::ClaudeCode,
            url: Some(format!("{URL}/")),
            config: None,
            data: DataArgs { data: home.path().to_owned() },
            key: NO_KEY.into(),
            ca: None,
            write: true,
            home: Some(home.path().to_owned()),
            json: false,
        };
        args.run(&mut Vec::new()).unwrap();
        let new: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!((&new["model"], &new["env"]["ANTHROPIC_BASE_URL"]), (&"opus".into(), &URL.into()));
        let kept = std::fs::read_to_string(home.path().join(".claude/settings.json.before-weir")).unwrap();
        assert_eq!(kept, "{\"model\": \"opus\"}\n");
        assert!(SetupArgs { url: Some("127.0.0.1:8080".into()), ..args }.run(&mut Vec::new()).is_err());
    }
}
