//! One agent: a program it imitates, a session, a history.

use std::time::{Duration, Instant};

use super::speech::{Parts, Speech};
use super::{Fleet, Totals};
use crate::client::{Checked, Client, Ended, Reading, Request};
use crate::http::mix;
use crate::json::quote;

/// The programs imitated, with what recognises them.
struct Kind {
    name: &'static str,
    speech: Speech,
    model: &'static str,
    user_agent: &'static str,
    system: &'static str,
    tools: &'static [(&'static str, &'static str)],
}

const KINDS: [Kind; 7] = [
    Kind {
        name: "claude-code",
        speech: Speech::Messages,
        model: "claude-sonnet-4-6",
        user_agent: "claude-cli/2.1.197 (external, cli)",
        system: "You are Claude Code, Anthropic's official CLI for Claude.",
        tools: &[("Bash", "command"), ("Read", "file_path"), ("Grep", "pattern")],
    },
    Kind {
        name: "opencode",
        speech: Speech::Chat,
        model: "gpt-5.2",
        user_agent: "opencode/1.18.0",
        system: "You are opencode, an agent for the terminal.",
        tools: &[("bash", "command"), ("read", "filePath")],
    },
    Kind {
        name: "codex",
        speech: Speech::Responses,
        model: "gpt-5.2-codex",
        user_agent: "codex_exec/0.169.0 (Debian 12.0.0; x86_64) dumb",
        system: "You are a coding agent running in the Codex CLI.",
        tools: &[("exec_command", "cmd")],
    },
    Kind {
        name: "gemini-cli",
        speech: Speech::Gemini,
        model: "gemini-3.8-flash",
        user_agent: "GeminiCLI/0.61.0/gemini-3.8-flash (linux; x64; terminal)",
        system: "You are Gemini CLI, an interactive agent for software engineering tasks.",
        tools: &[("run_shell_command", "command"), ("read_file", "file_path")],
    },
    Kind {
        name: "anthropic-sdk",
        speech: Speech::Messages,
        model: "claude-haiku-4-5",
        user_agent: "Anthropic/Python 0.89.0",
        system: "You help with the books of a small library.",
        tools: &[("look_up", "query")],
    },
    Kind {
        name: "openai-sdk",
        speech: Speech::Chat,
        model: "gpt-5-mini",
        user_agent: "OpenAI/Python 2.9.0",
        system: "You answer questions about the weather.",
        tools: &[],
    },
    Kind {
        name: "aider",
        speech: Speech::Chat,
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
    /// It is the user's turn to say something.
    asks: bool,
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
            asks: true,
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
        if std::mem::take(&mut self.asks) {
            let question = self.question();
            self.history.push(self.kind.speech.question(&question));
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
        (self.titled, self.asks) = (false, true);
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
        let speech = self.kind.speech;
        self.history.extend(speech.answer(&checked.answer.text(), &claim.tools));
        if claim.tools.is_empty() {
            self.asks = true;
        } else {
            let outputs: Vec<String> = claim.tools.iter().map(|_| self.output()).collect();
            self.history.extend(speech.results(&claim.tools, &outputs));
        }
        // A tool takes a moment; a person takes longer.
        let mean = if claim.tools.is_empty() { self.fleet.thinking } else { self.fleet.thinking / 4 };
        self.pause(mean);
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
        let history = [self.kind.speech.question(ask)];
        self.kind.speech.body(&Parts {
            system: "",
            tools: &[],
            history: &history,
            ..self.parts(&self.extra())
        })
    }

    /// What the programs send besides.
    fn extra(&self) -> String {
        match (self.kind.speech, self.kind.name) {
            (Speech::Messages, _) => self.metadata(),
            // One of the programs streams without asking for usage, as it does in life.
            (Speech::Chat, name) if name != "aider" => {
                "\"stream_options\":{\"include_usage\":true},".to_owned()
            }
            (Speech::Responses, _) => format!("\"prompt_cache_key\":\"{}\",", self.session),
            _ => String::new(),
        }
    }

    fn parts<'a>(&'a self, extra: &'a str) -> Parts<'a> {
        let Kind { model, tools, .. } = self.kind;
        Parts { model, system: "", tools, history: &self.history, extra }
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
        self.kind.speech.body(&Parts { system: &self.system(), ..self.parts(&self.extra()) })
    }

    fn request(&self, body: &str) -> Request {
        let speech = self.kind.speech;
        let beta = if self.kind.name == "claude-code" { "?beta=true" } else { "" };
        let path = format!("{}{}{beta}", self.fleet.prefix, speech.path(self.kind.model));
        let (field, before) = speech.credential();
        let mut request = Request::new("POST", &path, body)
            .header("user-agent", self.kind.user_agent)
            .header("content-type", "application/json")
            .header("accept", "application/json")
            .header(field, &format!("{before}{}", self.fleet.credential));
        if speech == Speech::Messages {
            request = request.header("anthropic-version", "2023-06-01");
        }
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
            "gemini-cli" => request.header("x-goog-api-client", "google-genai-sdk/1.30.0 gl-node/v20"),
            _ => request.header("x-stainless-lang", "python").header("x-stainless-retry-count", "0"),
        };
        if self.fleet.synthetic.is_empty() { request } else { request.synthetic(&self.fleet.synthetic) }
    }
}
