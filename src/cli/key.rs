//! `weir key create|list|revoke`: keys minted by weir.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::json;

use super::out;
use crate::base::clock::{self, Wall};
use crate::base::settings::duration;
use crate::config::keys;
use crate::policy::identity::key::{KeyRow, mint};
use crate::record::audit::AuditLog;

/// Mint, list and revoke keys.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  weir key create ci --expires 90d --group bots
  weir key list
  weir key revoke 3f9k2m7q
  weir key revoke 3f9k2m7q --cut     end what runs under it, too

A running gateway of the same folder sees a change within seconds. A key is shown once, when it is made. In grants it is \"key:NAME\".")]
pub struct KeyArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: KeyAction,
    /// The data folder.
    #[arg(long, value_name = "DIR", default_value = "weir-data", global = true)]
    pub data: PathBuf,
    /// JSON instead of words.
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to do.
#[derive(Subcommand, Clone, Debug)]
pub enum KeyAction {
    /// Mint a key and show it, once.
    Create {
        /// Who it is for: key:NAME in grants.
        name: String,
        /// How long it is good for, as in 90d; for ever where absent.
        #[arg(long, value_parser = span)]
        expires: Option<Duration>,
        /// A group it brings; repeat for several.
        #[arg(long)]
        group: Vec<String>,
    },
    /// List keys, without what would open anything.
    List,
    /// Take a key back.
    Revoke {
        /// Its id, as listed.
        id: String,
        /// End the streams that run under it, too; without it they go on to their end.
        #[arg(long)]
        cut: bool,
    },
}

fn span(text: &str) -> Result<Duration, String> {
    duration(text).filter(|span| !span.is_zero()).ok_or_else(|| "expected a time such as 90d".into())
}

/// Run the command.
#[must_use]
pub fn run(args: &KeyArgs) -> ExitCode {
    let now = clock::wall();
    let done = match &args.action {
        KeyAction::Create { name, expires, group } => create(args, name, *expires, group, now),
        KeyAction::List => list(args, now),
        KeyAction::Revoke { id, cut } => revoke(&args.data, id, *cut, now),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir key: {}: {error}", args.data.display());
            ExitCode::FAILURE
        }
    }
}

fn create(
    args: &KeyArgs,
    name: &str,
    expires: Option<Duration>,
    groups: &[String],
    now: Wall,
) -> io::Result<()> {
    let expires = expires.map(|span| now.saturating_add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)));
    let plain = |group: &String| group.strip_prefix("group:").unwrap_or(group).to_owned();
    let minted = mint(name, now, expires, groups.iter().map(plain).collect()).map_err(io::Error::other)?;
    keys::change(&args.data, |rows| {
        rows.push(minted.row.clone());
        note(&args.data, &minted.row, "create")
    })?;
    match args.json {
        true => out::line(
            json!({"id": minted.row.id, "name": minted.row.name, "key": minted.key, "expires": expires.map(day)}),
        ),
        false => out::line(format_args!(
            "{}\n\nid {}, for key:{name}; it is not shown again",
            minted.key, minted.row.id
        )),
    }
    Ok(())
}

fn list(args: &KeyArgs, now: Wall) -> io::Result<()> {
    for row in keys::read(&args.data)? {
        let expires = row.expires.map_or_else(|| "never".into(), day);
        match args.json {
            true => out::line(
                json!({"id": row.id, "name": row.name, "groups": row.groups, "created": day(row.created),
                       "expires": row.expires.map(day), "state": state(&row, now)}),
            ),
            false => out::line(format_args!(
                "{}  {:8}  expires {expires:20}  key:{}",
                row.id,
                state(&row, now),
                row.name
            )),
        }
    }
    Ok(())
}

fn revoke(data: &Path, id: &str, cut: bool, now: Wall) -> io::Result<()> {
    keys::change(data, |rows| {
        let Some(row) = rows.iter_mut().find(|row| row.id == id) else {
            return Err(io::Error::other(format!("no key {id:?}; `weir key list` shows them")));
        };
        row.revoked.get_or_insert(now);
        // A key that was taken back gently may be cut later, and not the other way round.
        row.cut |= cut;
        note(data, row, if cut { "cut" } else { "revoke" })
    })
}

/// No line in the audit log, no change.
fn note(data: &Path, row: &KeyRow, action: &str) -> io::Result<()> {
    let uid = rustix::process::geteuid().as_raw();
    let login = uzers::get_user_by_uid(uid)
        .map_or_else(|| format!("uid:{uid}"), |user| user.name().to_string_lossy().into_owned());
    let look = json!({"key": {"action": action, "id": row.id, "name": row.name, "groups": row.groups}});
    AuditLog::open(data)?.append(&login, "command", &look)
}

fn state(row: &KeyRow, now: Wall) -> &'static str {
    match (row.revoked, row.expires) {
        (Some(_), _) => "revoked",
        (None, Some(expires)) if now >= expires => "expired",
        _ => "good",
    }
}

fn day(at: Wall) -> String {
    let seconds = i64::try_from(at / 1_000_000).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map_or_else(|_| "never".into(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_listed_and_taken_back() {
        let dir = tempfile::tempdir().expect("folder");
        let args = KeyArgs { action: KeyAction::List, data: dir.path().into(), json: false };
        create(&args, "ci", Some(Duration::from_secs(10)), &["group:bots".into()], 1_000_000)
            .expect("created");
        let rows = keys::read(dir.path()).expect("rows");
        assert_eq!((rows[0].groups.as_slice(), state(&rows[0], 0)), (&["bots".to_owned()][..], "good"));
        assert_eq!(state(&rows[0], 11_000_000), "expired");
        revoke(dir.path(), &rows[0].id, false, 2_000_000).expect("revoked");
        assert!(!keys::read(dir.path()).expect("rows")[0].cut);
        revoke(dir.path(), &rows[0].id, true, 3_000_000).expect("cut");
        let row = &keys::read(dir.path()).expect("rows")[0];
        assert_eq!((row.revoked, row.cut), (Some(2_000_000), true));
        assert_eq!(state(&keys::read(dir.path()).expect("rows")[0], 0), "revoked");
        assert!(revoke(dir.path(), "nothere", false, 0).is_err());
        assert!(create(&args, "a b", None, &[], 0).is_err());
        let audit = std::fs::read_to_string(dir.path().join("audit.log")).expect("an audit log");
        let actions: Vec<serde_json::Value> =
            audit.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let actions: Vec<_> =
            actions.iter().filter_map(|line| line["look"]["key"]["action"].as_str()).collect();
        assert_eq!(actions, ["create", "revoke", "cut"]);
        std::fs::remove_file(dir.path().join("audit.log")).expect("removed");
        std::os::unix::fs::symlink("/dev/full", dir.path().join("audit.log")).expect("a link");
        assert!(create(&args, "unnoted", None, &[], 0).is_err());
        assert_eq!(keys::read(dir.path()).expect("rows").len(), 1, "no line, no change");
    }
}
