//! The settings of each client program that points it at a gateway: where they stand and what they say.
//!
//! The same text for `weir setup`, the API and the dashboard. No credential stands in any of it: the gateway holds the
//! providers' keys, and clients send a placeholder where they insist on one.

use serde::Serialize;
use serde_json::json;

/// A client program that weir knows how to set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Client {
    /// Anthropic's Claude Code.
    ClaudeCode,
    /// OpenAI's Codex.
    Codex,
    /// Google's Gemini CLI.
    Gemini,
    /// opencode.
    Opencode,
}

impl Client {
    /// Every client.
    pub const ALL: [Client; 4] = [Client::ClaudeCode, Client::Codex, Client::Gemini, Client::Opencode];
}

/// What to set, in words and as text to copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setup {
    /// The name on the command line.
    pub client: &'static str,
    /// The name for people.
    pub name: &'static str,
    /// Lines for a shell: good for one session.
    pub shell: String,
    /// The file that makes it lasting, relative to the home folder.
    pub file: &'static str,
    /// What belongs into that file.
    pub content: String,
    /// How the content joins what the file holds already.
    #[serde(skip)]
    pub joins: Joins,
    /// What a person should know.
    pub note: &'static str,
}

/// How settings join a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joins {
    /// Merged into the file's JSON object, key by key.
    Json(serde_json::Value),
    /// TOML: keys that stand at the top, and a table.
    Toml {
        /// `key = value` before the first table.
        top: Vec<(&'static str, String)>,
        /// Name of the table, and its lines.
        table: (&'static str, Vec<String>),
    },
    /// `NAME=value` lines.
    Env(Vec<(&'static str, String)>),
}

/// The settings that point `client` at the gateway at `url` (scheme and authority, no slash at the end).
#[must_use]
pub fn setup(client: Client, url: &str) -> Setup {
    match client {
        Client::ClaudeCode => claude_code(url),
        Client::Codex => codex(url),
        Client::Gemini => gemini(url),
        Client::Opencode => opencode(url),
    }
}

/// The base URL is the root: Claude Code appends `/v1/messages`. A token, since without one it asks for a login.
fn claude_code(url: &str) -> Setup {
    let value = json!({"env": {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_AUTH_TOKEN": "-"}});
    Setup {
        client: "claude-code",
        name: "Claude Code",
        shell: format!("export ANTHROPIC_BASE_URL={url}\nexport ANTHROPIC_AUTH_TOKEN=-"),
        file: ".claude/settings.json",
        content: pretty(&value),
        joins: Joins::Json(value),
        note: "Unset ANTHROPIC_API_KEY: where both are set it asks which to use. `/status` shows the base URL.",
    }
}

/// `responses` is the only API that current Codex speaks. `env_key` is left out: without it Codex sends no credential
/// and asks for none.
fn codex(url: &str) -> Setup {
    let top = vec![("model_provider", "\"weir\"".to_owned())];
    let lines = vec![
        "name = \"weir\"".to_owned(),
        format!("base_url = \"{url}/v1\""),
        "wire_api = \"responses\"".to_owned(),
    ];
    let table = "model_providers.weir";
    Setup {
        client: "codex",
        name: "Codex",
        shell: format!(
            "codex -c model_provider=weir -c model_providers.weir.name=weir \\\n  -c model_providers.weir.base_url={url}/v1 \
             -c model_providers.weir.wire_api=responses"
        ),
        file: ".codex/config.toml",
        content: format!("model_provider = \"weir\"\n\n[{table}]\n{}\n", lines.join("\n")),
        joins: Joins::Toml { top, table: (table, lines) },
        note: "It needs a provider behind the gateway that answers /v1/responses. A project's own .codex/config.toml \
               cannot set the provider: use the one in the home folder.",
    }
}

/// API-key mode; with a Google login the CLI talks to another endpoint and never asks the base URL.
fn gemini(url: &str) -> Setup {
    let lines = vec![("GOOGLE_GEMINI_BASE_URL", url.to_owned()), ("GEMINI_API_KEY", "-".to_owned())];
    Setup {
        client: "gemini",
        name: "Gemini CLI",
        shell: env_lines("export ", &lines),
        file: ".gemini/.env",
        content: format!("{}\n", env_lines("", &lines)),
        joins: Joins::Env(lines),
        note: "Choose \"Use Gemini API key\" with /auth. A .env in the project folder is read instead of this one.",
    }
}

/// Base URLs with `/v1`: opencode's packages append `/messages` and `/chat/completions`.
fn opencode(url: &str) -> Setup {
    let options = json!({"options": {"baseURL": format!("{url}/v1"), "apiKey": "-"}});
    let value = json!({"provider": {"anthropic": options, "openai": options}});
    Setup {
        client: "opencode",
        name: "opencode",
        shell: format!("export OPENCODE_CONFIG_CONTENT='{value}'"),
        file: ".config/opencode/opencode.json",
        content: pretty(&value),
        joins: Joins::Json(value),
        note: "A project's own opencode.json wins over this file; /models shows the providers.",
    }
}

fn env_lines(before: &str, lines: &[(&str, String)]) -> String {
    lines.iter().map(|(name, value)| format!("{before}{name}={value}")).collect::<Vec<_>>().join("\n")
}

/// JSON as people write it.
#[must_use]
pub fn pretty(value: &serde_json::Value) -> String {
    // A value that was built from literals always prints.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_is_pointed_at_the_gateway_and_given_no_credential() {
        for client in Client::ALL {
            let setup = setup(client, "http://127.0.0.1:8080");
            assert!(setup.shell.contains("http://127.0.0.1:8080"), "{client:?}");
            assert!(setup.content.contains("http://127.0.0.1:8080"), "{client:?}");
            assert!(!setup.content.contains("sk-"), "{client:?}");
        }
    }
}
