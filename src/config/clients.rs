//! The settings of each client program that points it at a gateway: where they stand and what they say.
//!
//! The same text for `weir setup`, the API and the dashboard. No provider's credential stands in any of it: the gateway
//! holds those, and clients send a key of the gateway's or a placeholder. Programs whose settings are only a page of
//! their own (editors' extensions) are told in words.

mod each;

use serde::Serialize;

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
    /// GitHub Copilot CLI with a provider of one's own.
    Copilot,
    /// Cline, in its editors and as a command.
    Cline,
    /// Roo Code.
    Roo,
    /// Kilo Code.
    Kilo,
    /// aider.
    Aider,
    /// The Zed editor.
    Zed,
    /// Charm's Crush.
    Crush,
    /// pi.
    Pi,
    /// Qwen Code.
    Qwen,
    /// The Cursor editor.
    Cursor,
    /// Programs on the vendors' own SDKs.
    Sdk,
}

impl Client {
    /// Every client.
    pub const ALL: [Client; 15] = [
        Client::ClaudeCode,
        Client::Codex,
        Client::Gemini,
        Client::Opencode,
        Client::Copilot,
        Client::Cline,
        Client::Roo,
        Client::Kilo,
        Client::Aider,
        Client::Zed,
        Client::Crush,
        Client::Pi,
        Client::Qwen,
        Client::Cursor,
        Client::Sdk,
    ];
}

/// Where the gateway is and how a client gets in.
#[derive(Clone, Copy, Debug)]
pub struct Gateway<'a> {
    /// Scheme and authority, no slash at the end.
    pub url: &'a str,
    /// A key of the gateway's, or [`NO_KEY`].
    pub key: &'a str,
    /// File of the authority that signed the gateway's certificate, where the system does not know it.
    pub ca: Option<&'a str>,
}

/// What clients send that insist on sending something: no key of anybody's.
pub const NO_KEY: &str = "-";

/// What to set, in words and as text to copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setup {
    /// The name on the command line.
    pub client: &'static str,
    /// The name for people.
    pub name: &'static str,
    /// Lines for a shell: good for one session. Empty where the program reads none.
    pub shell: String,
    /// The files that make it lasting.
    pub files: Vec<SettingsFile>,
    /// What a person should know.
    pub note: &'static str,
}

/// A file of the client's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SettingsFile {
    /// Relative to the home folder.
    pub path: &'static str,
    /// What belongs into it.
    pub content: String,
    /// How that joins what the file holds already.
    #[serde(skip)]
    pub joins: Joins,
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
    /// A line for each name, with this between name and value (`NAME=value`, `name: value`).
    Lines(&'static str, Vec<(&'static str, String)>),
}

/// The settings that point `client` at a gateway.
#[must_use]
pub fn setup(client: Client, gateway: &Gateway<'_>) -> Setup {
    let mut setup = match client {
        Client::ClaudeCode => each::claude_code(gateway),
        Client::Codex => each::codex(gateway),
        Client::Gemini => each::gemini(gateway),
        Client::Opencode => each::opencode(gateway),
        Client::Copilot => each::copilot(gateway),
        Client::Cline => each::cline(gateway),
        Client::Roo => each::roo(gateway),
        Client::Kilo => each::kilo(gateway),
        Client::Aider => each::aider(gateway),
        Client::Zed => each::zed(gateway),
        Client::Crush => each::crush(gateway),
        Client::Pi => each::pi(gateway),
        Client::Qwen => each::qwen(gateway),
        Client::Cursor => each::cursor(gateway),
        Client::Sdk => each::sdk(gateway),
    };
    if let Some(ca) = gateway.ca {
        // Programs on Node read the first, those in Rust, Go and Python the second.
        let lines = [("NODE_EXTRA_CA_CERTS", ca.to_owned()), ("SSL_CERT_FILE", ca.to_owned())];
        setup.shell = [setup.shell, exports(&lines)].join("\n").trim().to_owned();
    }
    setup
}

/// `export NAME=value` lines.
fn exports(lines: &[(&str, String)]) -> String {
    lines.iter().map(|(name, value)| format!("export {name}={value}")).collect::<Vec<_>>().join("\n")
}

impl SettingsFile {
    fn json(path: &'static str, value: serde_json::Value) -> Self {
        Self { path, content: pretty(&value), joins: Joins::Json(value) }
    }

    fn lines(path: &'static str, between: &'static str, lines: Vec<(&'static str, String)>) -> Self {
        let content = lines.iter().map(|(name, value)| format!("{name}{between}{value}\n")).collect();
        Self { path, content, joins: Joins::Lines(between, lines) }
    }

    fn toml(path: &'static str, top: (&'static str, &str), table: &'static str, lines: Vec<String>) -> Self {
        let content = format!("{} = {}\n\n[{table}]\n{}\n", top.0, top.1, lines.join("\n"));
        let top = vec![(top.0, top.1.to_owned())];
        Self { path, content, joins: Joins::Toml { top, table: (table, lines) } }
    }
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
        let gateway = Gateway { url: "http://127.0.0.1:8080", key: NO_KEY, ca: None };
        for client in Client::ALL {
            let setup = setup(client, &gateway);
            let files: String = setup.files.iter().map(|file| file.content.as_str()).collect();
            let told = format!("{}{files}", setup.shell);
            // Those without a line to copy are told in words.
            let in_words = told.is_empty();
            assert!(told.contains(gateway.url) || in_words && setup.note.contains("base URL"), "{client:?}");
            assert!(!told.contains("sk-"), "{client:?}");
        }
    }

    #[test]
    fn a_key_and_an_authority_go_where_they_are_read() {
        let gateway = Gateway { url: "https://weir.example", key: "weir_k", ca: Some("/etc/ca.pem") };
        for client in Client::ALL {
            let setup = setup(client, &gateway);
            assert!(setup.shell.contains("NODE_EXTRA_CA_CERTS=/etc/ca.pem"), "{client:?}");
            let files: String = setup.files.iter().map(|file| file.content.as_str()).collect();
            let told = format!("{}{files}", setup.shell);
            assert!(told.contains("weir_k") || !told.contains(gateway.url), "{client:?}");
        }
    }
}
