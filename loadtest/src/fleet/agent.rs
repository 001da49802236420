//! One agent: a program it imitates, a session, a history.

use std::time::{Duration, Instant};

use super::{Fleet, Totals};
use crate::client::{Checked, Client, Ended, Reading, Request};
use crate::http::mix;
use crate::json::quote;

/// The programs imitated, with what recognises them.
struct Kind {
    name: &'static str,
    chat: bool,
    model: &'static str,
    user_agent: &'static str,
    system: &'static str,
    tools: &'static [(&'static str, &'static str)],
}

const KINDS: [Kind; 6] = [
    Kind {
        name: "claude-code",
        chat: false,
        model: "claude-sonnet-4-6",
        user_agent: "claude-cli/2.1.197 (external, cli)",
        system: "You are Claude Code, Anthropic's official CLI for Claude.",
        tools: &[("Bash", "command"), ("Read", "file_path"), ("Grep", "pattern")],
    },
    Kind {
        name: "opencode",
        chat: true,
        model: "gpt-5.2",
        user_agent: "opencode/1.18.0",
        system: "You are opencode, an agent for the terminal.",
        tools: &[("bash", "command"), ("read", "filePath")],
    },
    Kind {
        name: "codex",
        chat: true,
        model: "gpt-5.2-codex",
        user_agent: "codex_exec/0.169.0 (Debian 12.0.0; x86_64) dumb",
        system: "You are a coding agent running in the Codex CLI.",
        tools: &[("exec_command", "command")],
    },
    Kind {
        name: "anthropic-sdk",
        chat: false,
        model: "claude-haiku-4-5",
        user_agent: "Anthropic/Python 0.89.0",
        system: "You help with the books of a small library.",
        tools: &[("look_up", "query")],
    },
    Kind {
        name: "openai-sdk",
        chat: true,
        model: "gpt-5.2-mini",
        user_agent: "OpenAI/Python 2.9.0",
        system: "You answer questions about the weather.",
        tools: &[],
    },
    Kind {
        name: "aider",
        chat: true,
        model: "gpt-5.2",
        user_agent: "OpenAI/Python 1.99.1",
        system: "Act as an expert software developer.",
        tools: &[],
    },
];

/// Real system prompts are long; this much is added to each.
const SYSTEM_BYTES: usize = 6_000;

pub(super) struct Agent {
    kind: &'static Kind,
    fleet: Fleet,
    client: Client,
    roll: u64,
    device: u64,
    session: String,
    /// Messages as JSON, in order.
    history: Vec<String>,
    due: Instant,
    titled: bool,
}

impl Agent {
    pub(super) fn new(fleet: &Fleet, number: usize) -> Agent {
        let roll = mix(fleet.seed ^ mix(number as u64 + 1));
        Agent {
            kind: &KINDS[number % KINDS.len()],
            fleet: fleet.clone(),
            client: Client::new(fleet.addr).timeout(Duration::from_secs(60)),
            roll,
            device: mix(roll),
            session: String::new(),
            history: Vec::new(),
            // Agents do not all speak at once.
            due: Instant::now() + Duration::from_millis(roll % 200).min(fleet.thinking),
            titled: false,
        }
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// One request and what follows from its answer.
    pub(super) fn turn(&mut self) -> Totals {
        let mut totals = Totals::default();
        let weight: usize = self.history.iter().map(String::len).sum();
        if self.session.is_empty() || weight > self.fleet.history_bytes_max {
            self.begin();
            totals.sessions = 1;
        }
        let title = !self.titled && !self.kind.tools.is_empty();
        self.titled = true;
        if title {
            totals.side_requests = 1;
            let request = self.request(&self.title_body());
            _ = self.exchange(&request, Reading::default(), &mut totals);
            return totals;
        }
        if self.history.last().is_none_or(|last| last.contains("\"role\":\"assistant\"")) {
            let question = self.question();
            self.history.push(format!("{{\"role\":\"user\",\"content\":{}}}", quote(&question)));
        }
        totals.turns = 1;
        totals.by_agent.insert(self.kind.name, 1);
        let request = self.request(&self.body());
        let reading = Reading { leave_after: self.leaving(), slow: None };
        match self.exchange(&request, reading, &mut totals) {
            Some(checked) => self.follow(&checked, &mut totals),
            None => self.pause(self.fleet.thinking),
        }
        totals
    }

    fn next(&mut self) -> u64 {
        self.roll = mix(self.roll.wrapping_add(0x9e37_79b9_7f4a_7c15));
        self.roll
    }

    fn pause(&mut self, mean: Duration) {
        // Between half and one and a half of the mean.
        let percent = 50 + self.next() as u32 % 100;
        self.due = Instant::now() + mean * percent / 100;
    }

    fn leaving(&mut self) -> Option<u64> {
        let one_in = self.fleet.leave_one_in;
        (one_in > 0 && self.next().is_multiple_of(one_in)).then(|| 1 + self.next() % 8)
    }

    fn begin(&mut self) {
        let (a, b) = (self.next(), self.next());
        self.session = format!(
            "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
            a >> 32,
            a & 0xffff,
            (a >> 16) & 0xfff,
            b >> 52,
            b & 0xffff_ffff_ffff
        );
        self.history.clear();
        self.titled = false;
    }

    /// The answer, if it came whole and right.
    fn exchange(&mut self, request: &Request, reading: Reading, totals: &mut Totals) -> Option<Checked> {
        totals.request_bytes = request.body.len() as u64;
        let checked = match self.client.check_reading(request, self.fleet.server.clone(), reading) {
            Ok(checked) => checked,
            Err(error) => {
                totals.errors = 1;
                totals.complaints.push(format!("{}: {error}", self.kind.name));
                self.pause(self.fleet.thinking.max(Duration::from_millis(100)));
                return None;
            }
        };
        totals.response_bytes = checked.reply.body_bytes as u64;
        totals.events = checked.events;
        totals.head_wait = checked.reply.head_after;
        if let Some(mismatch) = &checked.mismatch {
            let status = mismatch.expected.starts_with("status ");
            let count = if status { &mut totals.errors } else { &mut totals.mismatches };
            *count = 1;
            let Request { method, target, .. } = request;
            totals.complaints.push(format!("{}: {method} {target}: {mismatch:?}", self.kind.name));
            self.client.close();
            return None;
        }
        match &checked.reply.ended {
            Ended::Complete if checked.reply.status == 200 => Some(checked),
            // As the provider's knobs wanted it: an honest refusal is no error of the gateway.
            Ended::Complete => None,
            Ended::Left => {
                totals.left = 1;
                None
            }
            ended => {
                totals.errors = 1;
                totals
                    .complaints
                    .push(format!("{}: {ended:?} after {} events", self.kind.name, checked.events));
                None
            }
        }
    }

    /// Count the answer, take it into the history, answer its tool calls.
    fn follow(&mut self, checked: &Checked, totals: &mut Totals) {
        let claim = &checked.answer.claim;
        totals.tokens_in = claim.tokens_in;
        totals.tokens_cache_read = claim.tokens_cache_read;
        totals.tokens_cache_write = claim.tokens_cache_write;
        totals.tokens_out = claim.tokens_out;
        totals.tool_calls = claim.tools.len() as u64;
        let text = checked.answer.text();
        if self.kind.chat {
            self.follow_chat(checked, &text)
        } else {
            self.follow_messages(checked, &text)
        }
        // A tool takes a moment; a person takes longer.
        let mean = if claim.tools.is_empty() { self.fleet.thinking } else { self.fleet.thinking / 4 };
        self.pause(mean);
    }

    fn follow_messages(&mut self, checked: &Checked, text: &str) {
        let tools = &checked.answer.claim.tools;
        let mut blocks = vec![format!("{{\"type\":\"text\",\"text\":{}}}", quote(text))];
        blocks.extend(tools.iter().map(|t| {
            let name = quote(&t.name);
            format!("{{\"type\":\"tool_use\",\"id\":\"{}\",\"name\":{name},\"input\":{}}}", t.id, t.arguments)
        }));
        self.history.push(format!("{{\"role\":\"assistant\",\"content\":[{}]}}", blocks.join(",")));
        let results: Vec<String> = tools
            .iter()
            .map(|t| {
                let result = quote(&self.output());
                format!("{{\"type\":\"tool_result\",\"tool_use_id\":\"{}\",\"content\":{result}}}", t.id)
            })
            .collect();
        if !results.is_empty() {
            self.history.push(format!("{{\"role\":\"user\",\"content\":[{}]}}", results.join(",")));
        }
    }

    fn follow_chat(&mut self, checked: &Checked, text: &str) {
        let tools = &checked.answer.claim.tools;
        if tools.is_empty() {
            self.history.push(format!("{{\"role\":\"assistant\",\"content\":{}}}", quote(text)));
            return;
        }
        let calls: Vec<String> = tools
            .iter()
            .map(|t| {
                format!(
                    "{{\"id\":\"{}\",\"type\":\"function\",\"function\":{{\"name\":{},\"arguments\":{}}}}}",
                    t.id,
                    quote(&t.name),
                    quote(&t.arguments)
                )
            })
            .collect();
        self.history.push(format!(
            "{{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{}]}}",
            calls.join(",")
        ));
        for tool in tools {
            let output = quote(&self.output());
            self.history
                .push(format!("{{\"role\":\"tool\",\"tool_call_id\":\"{}\",\"content\":{output}}}", tool.id));
        }
    }

    fn question(&mut self) -> String {
        let roll = self.next();
        let what = [
            "Find out why",
            "Write a test that shows how",
            "Explain in two sentences where",
            "Make it so that",
        ];
        let which = [
            "the build fails on a fresh clone",
            "the cache forgets its oldest entry",
            "the reader stops early",
        ];
        format!(
            "{} {} (case {}).",
            what[roll as usize % what.len()],
            which[(roll >> 8) as usize % which.len()],
            roll >> 48
        )
    }

    /// What a tool printed: from a line to some pages.
    fn output(&mut self) -> String {
        let roll = self.next();
        let lines = 1 + (roll % 60) * (roll >> 8 & 3);
        (0..lines).map(|n| format!("src/part_{}.rs:{n}: {:016x}\n", roll % 40, mix(roll ^ n))).collect()
    }

    fn system(&self) -> String {
        let mut text = self.kind.system.to_owned();
        let mut n = 0;
        while text.len() < SYSTEM_BYTES {
            n += 1;
            text.push_str(&format!("\nRule {n}: keep to what the user asked and say what you did not do."));
        }
        text
    }

    fn title_body(&self) -> String {
        let ask = "Write a title of at most six words for the session that begins now.";
        format!(
            "{{\"model\":\"{}\",\"max_tokens\":64,\"stream\":true,{}\"messages\":[{{\"role\":\"user\",\"content\":\"{ask}\"}}]}}",
            self.kind.model,
            self.metadata()
        )
    }

    fn metadata(&self) -> String {
        if self.kind.name != "claude-code" {
            return String::new();
        }
        let user = format!(
            "{{\"device_id\":\"{:016x}\",\"account_uuid\":\"\",\"session_id\":\"{}\"}}",
            self.device, self.session
        );
        format!("\"metadata\":{{\"user_id\":{}}},", quote(&user))
    }

    fn body(&self) -> String {
        let messages = self.history.join(",");
        let system = quote(&self.system());
        let tools = self.tools();
        if self.kind.chat {
            // One of the programs streams without asking for usage, as it does in life.
            let usage = self.kind.name != "aider";
            let option = if usage { "\"stream_options\":{\"include_usage\":true}," } else { "" };
            return format!(
                "{{\"model\":\"{}\",\"stream\":true,{option}{tools}\"messages\":[{{\"role\":\"system\",\"content\":{system}}},{messages}]}}",
                self.kind.model
            );
        }
        format!(
            "{{\"model\":\"{}\",\"max_tokens\":32000,\"stream\":true,{}{tools}\"system\":[{{\"type\":\"text\",\
             \"text\":{system},\"cache_control\":{{\"type\":\"ephemeral\"}}}}],\"messages\":[{messages}]}}",
            self.kind.model,
            self.metadata()
        )
    }

    fn tools(&self) -> String {
        let declared: Vec<String> =
            self.kind.tools.iter().map(|(name, field)| self.tool(name, field)).collect();
        if declared.is_empty() { String::new() } else { format!("\"tools\":[{}],", declared.join(",")) }
    }

    fn tool(&self, name: &str, field: &str) -> String {
        let schema = format!(
            "{{\"type\":\"object\",\"properties\":{{\"{field}\":{{\"type\":\"string\"}}}},\"required\":[\"{field}\"]}}"
        );
        let about = format!("\"name\":\"{name}\",\"description\":\"Runs {name}\"");
        if self.kind.chat {
            format!("{{\"type\":\"function\",\"function\":{{{about},\"parameters\":{schema}}}}}")
        } else {
            format!("{{{about},\"input_schema\":{schema}}}")
        }
    }

    fn request(&self, body: &str) -> Request {
        let path = match (self.kind.chat, self.kind.name) {
            (true, _) => "/v1/chat/completions",
            (false, "claude-code") => "/v1/messages?beta=true",
            (false, _) => "/v1/messages",
        };
        let mut request = Request::new("POST", &format!("{}{path}", self.fleet.prefix), body)
            .header("user-agent", self.kind.user_agent)
            .header("content-type", "application/json")
            .header("accept", "application/json");
        let credential = &self.fleet.credential;
        request = match self.kind.chat {
            true => request.header("authorization", &format!("Bearer {credential}")),
            false => request.header("x-api-key", credential).header("anthropic-version", "2023-06-01"),
        };
        request = match self.kind.name {
            "claude-code" => request
                .header("x-app", "cli")
                .header("anthropic-beta", "claude-code-20250219")
                .header("x-claude-code-session-id", &self.session),
            "opencode" => request.header("x-session-id", &self.session),
            "codex" => request
                .header("originator", "codex_exec")
                .header("session-id", &self.session)
                .header("thread-id", &self.session),
            _ => request.header("x-stainless-lang", "python").header("x-stainless-retry-count", "0"),
        };
        if self.fleet.synthetic.is_empty() { request } else { request.synthetic(&self.fleet.synthetic) }
    }
}
