//! One function a client: where its settings stand, as of autumn 2026. What the CI suites run themselves (Claude Code,
//! Codex, Gemini CLI, opencode, the SDKs) is shown there to work; Copilot CLI, Cline, pi and Qwen Code were tried by hand
//! with the versions of the day; the others follow their vendors' pages.

use serde_json::json;

use super::{Gateway, NO_KEY, SettingsFile, Setup, exports};

/// The base URL is the root: Claude Code appends `/v1/messages`. A token, since without one it asks for a login.
pub(super) fn claude_code(gateway: &Gateway<'_>) -> Setup {
    let Gateway { url, key, ca } = gateway;
    let mut env = json!({"ANTHROPIC_BASE_URL": url, "ANTHROPIC_AUTH_TOKEN": key});
    if let Some(ca) = ca {
        env["NODE_EXTRA_CA_CERTS"] = json!(ca);
    }
    Setup {
        client: "claude-code",
        name: "Claude Code",
        shell: format!("export ANTHROPIC_BASE_URL={url}\nexport ANTHROPIC_AUTH_TOKEN={key}"),
        files: vec![SettingsFile::json(".claude/settings.json", json!({"env": env}))],
        note: "Unset ANTHROPIC_API_KEY: where both are set it asks which to use. `/status` shows the base URL.",
    }
}

/// `responses` is the only API that current Codex speaks. `env_key` is left out: without it Codex sends no credential
/// and asks for none; a key of the gateway's goes into a field of its own.
pub(super) fn codex(gateway: &Gateway<'_>) -> Setup {
    let Gateway { url, key, .. } = gateway;
    let mut lines = vec![
        "name = \"weir\"".to_owned(),
        format!("base_url = \"{url}/v1\""),
        "wire_api = \"responses\"".to_owned(),
    ];
    if *key != NO_KEY {
        lines.push(format!("http_headers = {{ \"x-api-key\" = \"{key}\" }}"));
    }
    let options: Vec<String> = lines
        .iter()
        .map(|line| format!(" \\\n  -c 'model_providers.weir.{}'", line.replace(" = ", "=")))
        .collect();
    Setup {
        client: "codex",
        name: "Codex",
        shell: format!("codex -c model_provider=weir{}", options.concat()),
        files: vec![SettingsFile::toml(
            ".codex/config.toml",
            ("model_provider", "\"weir\""),
            "model_providers.weir",
            lines,
        )],
        note: "It needs a provider behind the gateway that answers /v1/responses. A project's own .codex/config.toml \
               cannot set the provider: use the one in the home folder.",
    }
}

/// API-key mode has to be chosen: by the base URL alone the CLI takes itself to be behind another kind of gateway and
/// refuses to start. With a Google login it talks to another endpoint and never asks the base URL.
pub(super) fn gemini(gateway: &Gateway<'_>) -> Setup {
    let lines =
        vec![("GOOGLE_GEMINI_BASE_URL", gateway.url.to_owned()), ("GEMINI_API_KEY", gateway.key.to_owned())];
    let chosen = json!({"security": {"auth": {"selectedType": "gemini-api-key"}}});
    Setup {
        client: "gemini",
        name: "Gemini CLI",
        shell: exports(&lines),
        files: vec![
            SettingsFile::lines(".gemini/.env", "=", lines),
            SettingsFile::json(".gemini/settings.json", chosen),
        ],
        note: "The shell's lines need the settings file as well, or \"Use Gemini API key\" in /auth. .gemini/.env is \
               read in trusted folders only (without a terminal: GEMINI_CLI_TRUST_WORKSPACE=true), and a .env in the \
               project folder instead of it.",
    }
}

/// Base URLs with `/v1`: opencode's packages append `/messages` and `/chat/completions`; Google's is `/v1beta`.
pub(super) fn opencode(gateway: &Gateway<'_>) -> Setup {
    let Gateway { url, key, .. } = gateway;
    let at = |path: &str| json!({"options": {"baseURL": format!("{url}/{path}"), "apiKey": key}});
    let value = json!({"provider": {"anthropic": at("v1"), "openai": at("v1"), "google": at("v1beta")}});
    Setup {
        client: "opencode",
        name: "opencode",
        shell: format!("export OPENCODE_CONFIG_CONTENT='{value}'"),
        files: vec![SettingsFile::json(".config/opencode/opencode.json", value)],
        note: "A project's own opencode.json wins over this file; /models shows the providers.",
    }
}

/// A provider of one's own is set by the environment alone.
pub(super) fn copilot(gateway: &Gateway<'_>) -> Setup {
    let Gateway { url, key, .. } = gateway;
    Setup {
        client: "copilot",
        name: "Copilot CLI",
        shell: exports(&[
            ("COPILOT_PROVIDER_TYPE", "anthropic".into()),
            ("COPILOT_PROVIDER_BASE_URL", (*url).into()),
            ("COPILOT_PROVIDER_API_KEY", (*key).into()),
            ("COPILOT_MODEL", "claude-sonnet-4-5".into()),
        ]),
        files: Vec::new(),
        note: "For OpenAI's models: COPILOT_PROVIDER_TYPE=openai and a base URL that ends in /v1. COPILOT_OFFLINE=true \
               keeps it from GitHub. Models that GitHub serves do not pass the gateway.",
    }
}

pub(super) fn cline(gateway: &Gateway<'_>) -> Setup {
    let Gateway { url, key, .. } = gateway;
    Setup {
        client: "cline",
        name: "Cline",
        shell: format!("cline auth --provider openai --apikey {key} --baseurl {url}/v1 --modelid gpt-5.2"),
        files: Vec::new(),
        note: "In the editor: API provider \"Anthropic\" with \"Use custom base URL\" set to the gateway, or \"OpenAI \
               Compatible\" with the base URL ending in /v1.",
    }
}

/// Its settings are a page of the editor's.
pub(super) fn roo(_: &Gateway<'_>) -> Setup {
    Setup {
        client: "roo",
        name: "Roo Code",
        shell: String::new(),
        files: Vec::new(),
        note: "In its settings: API provider \"Anthropic\" with \"Use custom base URL\" set to the gateway, or \"OpenAI \
               Compatible\" with the base URL ending in /v1; any API key.",
    }
}

/// Its settings are a page of the editor's.
pub(super) fn kilo(_: &Gateway<'_>) -> Setup {
    Setup {
        client: "kilo",
        name: "Kilo Code",
        shell: String::new(),
        files: Vec::new(),
        note: "In its settings: API provider \"Anthropic\" with \"Use custom base URL\" set to the gateway, or \"OpenAI \
               Compatible\" with the base URL ending in /v1; any API key.",
    }
}

/// OpenAI's models in the file, for which aider has keys of its own; Anthropic's by the environment.
pub(super) fn aider(gateway: &Gateway<'_>) -> Setup {
    let Gateway { url, key, .. } = gateway;
    let lines = vec![("openai-api-base", format!("{url}/v1")), ("openai-api-key", format!("\"{key}\""))];
    Setup {
        client: "aider",
        name: "aider",
        shell: exports(&[
            ("OPENAI_API_BASE", format!("{url}/v1")),
            ("OPENAI_API_KEY", (*key).into()),
            ("ANTHROPIC_API_BASE", (*url).into()),
            ("ANTHROPIC_API_KEY", (*key).into()),
        ]),
        files: vec![SettingsFile::lines(".aider.conf.yml", ": ", lines)],
        note: "Name models with their maker: aider --model openai/gpt-5.2. It streams without asking for usage: \
               `ask_usage` at the provider has it counted rather than estimated.",
    }
}

pub(super) fn zed(gateway: &Gateway<'_>) -> Setup {
    let Gateway { url, key, .. } = gateway;
    let at = |path: &str| json!({"api_url": format!("{url}{path}")});
    let value = json!({"language_models": {
        "anthropic": at(""), "openai": at("/v1"), "google": at(""), "ollama": at(""),
    }});
    // Keys are kept in the system's keychain; the environment's come first.
    let keys =
        ["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY"].map(|name| (name, (*key).to_owned()));
    Setup {
        client: "zed",
        name: "Zed",
        shell: exports(&keys),
        files: vec![SettingsFile::json(".config/zed/settings.json", value)],
        note: "Both are needed: the file says where, the environment that Zed is started from holds the key (or type \
               any key into its providers' page).",
    }
}

/// Anthropic's base URL is the root, as its SDK takes it.
pub(super) fn crush(gateway: &Gateway<'_>) -> Setup {
    let Gateway { url, key, .. } = gateway;
    let at = |path: &str| json!({"base_url": format!("{url}{path}"), "api_key": key});
    let value = json!({"providers": {"anthropic": at(""), "openai": at("/v1"), "gemini": at("")}});
    Setup {
        client: "crush",
        name: "Crush",
        shell: String::new(),
        files: vec![SettingsFile::json(".config/crush/crush.json", value)],
        note: "A project's own crush.json or .crush.json wins over this file.",
    }
}

pub(super) fn pi(gateway: &Gateway<'_>) -> Setup {
    let Gateway { url, key, .. } = gateway;
    let at = |path: &str| json!({"baseUrl": format!("{url}{path}"), "apiKey": key});
    let value = json!({"providers": {"anthropic": at(""), "openai": at("/v1"), "google": at("/v1beta")}});
    Setup {
        client: "pi",
        name: "pi",
        shell: String::new(),
        files: vec![SettingsFile::json(".pi/agent/models.json", value)],
        note: "A login stored by /login wins over the key in this file: /logout of that provider first.",
    }
}

pub(super) fn qwen(gateway: &Gateway<'_>) -> Setup {
    let Gateway { url, key, .. } = gateway;
    let lines = vec![
        ("OPENAI_BASE_URL", format!("{url}/v1")),
        ("OPENAI_API_KEY", (*key).to_owned()),
        ("OPENAI_MODEL", "qwen3-coder-plus".to_owned()),
    ];
    let chosen = json!({"security": {"auth": {"selectedType": "openai"}}});
    Setup {
        client: "qwen",
        name: "Qwen Code",
        shell: exports(&lines),
        files: vec![
            SettingsFile::lines(".qwen/.env", "=", lines),
            SettingsFile::json(".qwen/settings.json", chosen),
        ],
        note: "Set OPENAI_MODEL to a model that the gateway lists at /v1/models.",
    }
}

/// Its requests come from Cursor's servers, not from the editor.
pub(super) fn cursor(_: &Gateway<'_>) -> Setup {
    Setup {
        client: "cursor",
        name: "Cursor",
        shell: String::new(),
        files: Vec::new(),
        note: "In Settings, Models: an OpenAI API key of the gateway's and \"Override OpenAI base URL\" ending in /v1. \
               Cursor's own servers call it, so the gateway must be reachable from the internet, and its own models \
               do not pass it.",
    }
}

/// What the vendors' SDKs read by themselves.
pub(super) fn sdk(gateway: &Gateway<'_>) -> Setup {
    let Gateway { url, key, .. } = gateway;
    Setup {
        client: "sdk",
        name: "Plain SDKs",
        shell: exports(&[
            ("ANTHROPIC_BASE_URL", (*url).into()),
            ("ANTHROPIC_API_KEY", (*key).into()),
            ("OPENAI_BASE_URL", format!("{url}/v1")),
            ("OPENAI_API_KEY", (*key).into()),
            ("GOOGLE_GEMINI_BASE_URL", (*url).into()),
            ("GEMINI_API_KEY", (*key).into()),
            ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", (*url).into()),
            ("OLLAMA_HOST", (*url).into()),
        ]),
        files: Vec::new(),
        note: "boto3 signs with whatever keys it finds, which the gateway replaces: AWS_ACCESS_KEY_ID and \
               AWS_SECRET_ACCESS_KEY may hold anything.",
    }
}
