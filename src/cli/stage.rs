//! A gateway before a synthetic provider, for the commands that run their own; and the two books that must agree.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use loadtest::Provider;
use serde::Serialize;

use crate::base::clock;
use crate::llm::dialect::paths::Flag;
use crate::llm::price::CostBasis::{self, Anthropic, Bedrock, Google, Openai};
use crate::llm::price::Listing;
use crate::policy::glob::Glob;
use crate::policy::snapshot::{self, Credential, Origin, Snapshot};
use crate::record::store::{Filter, GroupBy, Reader};

/// The credential that the gateway holds for the synthetic provider.
pub(super) const HELD: &str = "held-by-the-gateway";

/// Every dialect that the synthetic provider speaks, each under the vendor that has it and at that vendor's prices.
pub(super) fn snapshot_before(provider: SocketAddr) -> Snapshot {
    let one = |id: &str, basis: Option<CostBasis>, flags: &[Flag], credential: Option<(&str, String)>| {
        Arc::new(snapshot::Provider {
            id: id.into(),
            origin: Origin { tls: false, host: provider.ip().to_string(), port: provider.port() },
            credential: credential.map(|(field, value)| Credential { field: field.into(), value }),
            flags: flags.to_vec(),
            models: Glob::new("**").into_iter().collect(),
            listing: Listing { basis, ..Listing::default() },
            name: Some("synthetic".into()),
            ..snapshot::Provider::default()
        })
    };
    let bearer = Some(("authorization", format!("Bearer {HELD}")));
    Snapshot {
        providers: vec![
            one(
                "anthropic",
                Some(Anthropic),
                &[Flag::AnthropicMessages],
                Some(("x-api-key", HELD.to_owned())),
            ),
            one("openai", Some(Openai), &[Flag::OpenaiChat, Flag::OpenaiResponses], bearer.clone()),
            one(
                "gemini",
                Some(Google),
                &[Flag::GeminiGenerateContent],
                Some(("x-goog-api-key", HELD.to_owned())),
            ),
            one("bedrock", Some(Bedrock), &[Flag::BedrockConverse, Flag::BedrockModelInvoke], bearer),
            one("ollama", None, &[Flag::OllamaNative], None),
        ],
        host_names: vec!["localhost".into()],
        loopback_is_user: true,
        ..Snapshot::default()
    }
}

/// The same sums from two books.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Account {
    pub(super) exchanges: u64,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) cache_read_tokens: u64,
    pub(super) tool_calls: u64,
}

impl Account {
    pub(super) fn less(self, before: &Account) -> Account {
        Account {
            exchanges: self.exchanges.saturating_sub(before.exchanges),
            input_tokens: self.input_tokens.saturating_sub(before.input_tokens),
            output_tokens: self.output_tokens.saturating_sub(before.output_tokens),
            cache_read_tokens: self.cache_read_tokens.saturating_sub(before.cache_read_tokens),
            tool_calls: self.tool_calls.saturating_sub(before.tool_calls),
        }
    }
}

/// The provider's book, in the store's terms.
pub(super) fn served(provider: &Provider) -> Account {
    let mut sums = Account::default();
    for served in provider.truth() {
        let claim = &served.claim;
        sums.exchanges += 1;
        sums.tool_calls += claim.tools.len() as u64;
        if !claim.usage_sent {
            continue;
        }
        sums.input_tokens += claim.input_total();
        sums.output_tokens += claim.output_total();
        sums.cache_read_tokens += claim.tokens_cache_read;
    }
    sums
}

/// The store's book; empty where there is no store yet.
pub(super) fn recorded(data: &Path) -> Account {
    let total = Reader::open(data).and_then(|reader| reader.usage(&Filter::default(), GroupBy::Total));
    let Some(row) = total.ok().and_then(|mut rows| rows.pop()) else { return Account::default() };
    Account {
        exchanges: row.exchanges,
        input_tokens: row.usage.input_tokens.unwrap_or(0),
        output_tokens: row.usage.output_tokens.unwrap_or(0),
        cache_read_tokens: row.usage.cache_read_tokens.unwrap_or(0),
        tool_calls: row.tool_calls,
    }
}

/// The folder of the store; a temporary one goes when the demo ends.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    temporary: bool,
}

impl Folder {
    pub(super) fn make(wanted: Option<&Path>) -> io::Result<Folder> {
        if let Some(path) = wanted {
            return Ok(Folder { path: path.to_owned(), temporary: false });
        }
        let path = std::env::temp_dir().join(format!("weir-{}-{:x}", std::process::id(), clock::wall()));
        // Fails where the name exists: nobody can have put a folder of theirs in our way.
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Folder { path, temporary: true })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
