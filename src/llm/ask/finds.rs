//! What the scan of a request finds: places only. Values are cut out and read when the body is complete.

use std::borrow::Cow;
use std::ops::Range;

use super::keys::{CHOICES, MAX_TOKENS, TOPS, Top, keys};
use crate::llm::dialect::Dialect;
use crate::llm::objects;
use crate::wire::json::scan::{Key, Watch};
use crate::wire::json::{Raw, unescape, unescape_start};

/// What the scan found: places only.
pub(super) struct Finds {
    dialect: Dialect,
    keys: &'static [(&'static str, Top)],
    /// Levels that the wrapper adds while the scan is in it.
    wrapped: u32,
    spans: [Option<(usize, usize)>; TOPS],
    /// Keys seen, in any case: bit `n` for `keys[n]`.
    seen: u32,
    pub(super) twice: Option<String>,
    pub(super) not_an_object: bool,
    /// The model is named in another case than the language's.
    pub(super) model_otherwise: bool,
    /// Which top-level value the scan is in.
    top: Option<Top>,
    pub(super) messages: u32,
    message: Message,
    /// Names of declared tools, and the models that some bring.
    tools: Vec<Range<usize>>,
    tool_models: Vec<Range<usize>>,
    /// Lists of tools inside tools (namespaces) and inside items of the history (tools that join later).
    tool_lists: Vec<Range<usize>>,
    tool: Tool,
    pub(super) first_user: Option<Range<usize>>,
    pub(super) last_user: Option<Range<usize>>,
    pub(super) system: Option<Range<usize>>,
    /// A key somewhere may name things that stay at the provider.
    pub(super) may_name: bool,
}

/// The declared tool that the scan is in.
#[derive(Default)]
struct Tool {
    key: ToolKey,
    named: bool,
    kind: Option<Range<usize>>,
    /// It is a namespace: the tools are those in it.
    holds: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum ToolKey {
    Name,
    /// `type`: stands in for a name where the provider runs the tool.
    Kind,
    Model,
    /// `function`, `custom`: the name is one level down.
    Body,
    /// `tools`: a namespace.
    Tools,
    /// `parameters`: of a function its schema, of OpenRouter's own tools their settings, with a model among them.
    Settings,
    SettingsModel,
    #[default]
    Other,
}

/// The message that the scan is in.
#[derive(Default)]
struct Message {
    key: MessageKey,
    part_is_text: bool,
    has_role: bool,
    role: Role,
    text: Option<Range<usize>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum MessageKey {
    Role,
    /// `content`, or `parts`.
    Content,
    /// `tools` of an item that declares more of them (Responses: `additional_tools`, `tool_search_output`).
    Tools,
    #[default]
    Other,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Role {
    User,
    /// `system`, or `developer`.
    System,
    #[default]
    Other,
}

// Depths of an object's members, from the outside.
const TOP: u32 = 1;
const MESSAGE: u32 = 2;
const MESSAGE_MEMBER: u32 = 3;
const PART_MEMBER: u32 = 5;
const TOOL: u32 = 2;
const TOOL_MEMBER: u32 = 3;
const TOOL_BODY_MEMBER: u32 = 4;

impl Finds {
    pub(super) fn new(dialect: Dialect) -> Self {
        Finds {
            dialect,
            keys: keys(dialect),
            wrapped: 0,
            spans: [None; TOPS],
            seen: 0,
            twice: None,
            not_an_object: false,
            model_otherwise: false,
            top: None,
            messages: 0,
            message: Message::default(),
            tools: Vec::new(),
            tool_models: Vec::new(),
            tool_lists: Vec::new(),
            tool: Tool::default(),
            first_user: None,
            last_user: None,
            system: None,
            may_name: false,
        }
    }

    pub(super) fn span(&self, top: Top) -> Option<Range<usize>> {
        self.spans[top as usize].map(|(start, end)| start..end)
    }

    pub(super) fn value<'a>(&self, body: &'a [u8], top: Top) -> Option<Raw<'a>> {
        Some(Raw::cut_off(body.get(self.span(top)?)?))
    }

    /// `false` if the key has been there before.
    fn top_key(&mut self, key: &[u8]) -> bool {
        self.top = None;
        let Some(n) = self.keys.iter().position(|(name, _)| name.as_bytes().eq_ignore_ascii_case(key)) else {
            return true;
        };
        let (name, top) = self.keys[n];
        if top == Top::Model && name.as_bytes() != key {
            self.model_otherwise = true;
        }
        // Two spellings of one field are one field to whoever takes both.
        let is_again = top.names_models() && self.spans[top as usize].is_some();
        if self.seen & (1 << n) != 0 || is_again {
            self.twice = Some(name.into());
            return false;
        }
        self.seen |= 1 << n;
        // Another spelling is nobody's key to us, but some parsers behind us would take it: what names further models
        // counts all the same.
        self.top = (name.as_bytes() == key || top.names_models()).then_some(top);
        true
    }

    fn message_ends(&mut self) {
        self.messages = self.messages.saturating_add(1);
        let message = std::mem::take(&mut self.message);
        let Some(text) = message.text else { return };
        // Gemini's contents may leave it out.
        let by_default = matches!(self.dialect, Dialect::Gemini | Dialect::CodeAssist) && !message.has_role;
        match if by_default { Role::User } else { message.role } {
            Role::User => {
                self.first_user.get_or_insert_with(|| text.clone());
                self.last_user = Some(text);
            }
            Role::System => {
                self.system.get_or_insert(text);
            }
            Role::Other => {}
        }
    }

    fn message_member(&mut self, body: &[u8], span: Range<usize>) {
        match self.message.key {
            MessageKey::Role => {
                self.message.has_role = true;
                self.message.role = match Raw::cut_off(&body[span]).text().as_deref() {
                    // Interactions have kinds of steps, and contents in a step's place.
                    Some("user" | "user_input" | "text") => Role::User,
                    Some("system" | "developer") => Role::System,
                    _ => Role::Other,
                }
            }
            MessageKey::Content if body[span.start] == b'"' => self.message.text = Some(span),
            MessageKey::Tools => self.tool_lists.push(span),
            _ => {}
        }
    }

    /// The last text of a message is what was typed: agents put their reminders and contexts before it.
    fn part_member(&mut self, body: &[u8], span: Range<usize>) {
        let text = &body[span.clone()];
        let is_text = self.message.part_is_text && self.message.key == MessageKey::Content;
        if is_text && text.first() == Some(&b'"') && !text.starts_with(b"\"<system-reminder>") {
            self.message.text = Some(span);
        }
    }
}

impl Finds {
    #[inline]
    fn message_key(&mut self, key: &[u8], depth: u32) {
        match depth {
            MESSAGE_MEMBER => {
                self.message.key = match key {
                    b"role" => MessageKey::Role,
                    b"type" if self.dialect == Dialect::Interactions => MessageKey::Role,
                    b"content" | b"parts" => MessageKey::Content,
                    b"text" if self.dialect == Dialect::Interactions => MessageKey::Content,
                    b"tools" if self.dialect == Dialect::Responses => MessageKey::Tools,
                    _ => MessageKey::Other,
                }
            }
            PART_MEMBER => self.message.part_is_text = key == b"text",
            _ => {}
        }
    }

    #[inline]
    fn message_value(&mut self, body: &[u8], depth: u32, span: Range<usize>) {
        match depth {
            MESSAGE => self.message_ends(),
            MESSAGE_MEMBER => self.message_member(body, span),
            PART_MEMBER => self.part_member(body, span),
            _ => {}
        }
    }

    #[inline]
    fn tool_key(&mut self, key: &[u8], depth: u32) {
        match (depth, self.tool.key) {
            (TOOL_MEMBER, _) => {
                self.tool.key = match key {
                    b"name" => ToolKey::Name,
                    b"type" => ToolKey::Kind,
                    _ if key.eq_ignore_ascii_case(b"model") => ToolKey::Model,
                    b"function" | b"custom" => ToolKey::Body,
                    b"tools" => ToolKey::Tools,
                    _ if key.eq_ignore_ascii_case(b"parameters") => ToolKey::Settings,
                    _ => ToolKey::Other,
                }
            }
            (TOOL_BODY_MEMBER, ToolKey::Settings | ToolKey::SettingsModel) => {
                let is_model = key.eq_ignore_ascii_case(b"model");
                self.tool.key = if is_model { ToolKey::SettingsModel } else { ToolKey::Settings };
            }
            (TOOL_BODY_MEMBER, ToolKey::Body) if key == b"name" => self.tool.key = ToolKey::Name,
            // The next member of the tool sets it anew.
            (TOOL_BODY_MEMBER, ToolKey::Name) => self.tool.key = ToolKey::Body,
            _ => {}
        }
    }

    #[inline]
    fn tool_value(&mut self, depth: u32, span: Range<usize>) {
        match (depth, self.tool.key) {
            (TOOL, _) => {
                let tool = std::mem::take(&mut self.tool);
                if tool.holds && tool.named {
                    self.tools.pop();
                } else if !tool.named && !tool.holds {
                    self.tools.extend(tool.kind);
                }
            }
            (TOOL_MEMBER | TOOL_BODY_MEMBER, ToolKey::Name) if !self.tool.named => {
                self.tool.named = true;
                self.tools.push(span);
            }
            (TOOL_MEMBER, ToolKey::Kind) => self.tool.kind = Some(span),
            (TOOL_MEMBER, ToolKey::Model) | (TOOL_BODY_MEMBER, ToolKey::SettingsModel) => {
                self.tool_models.push(span);
            }
            (TOOL_MEMBER, ToolKey::Tools) => {
                self.tool.holds = true;
                self.tool_lists.push(span);
            }
            _ => {}
        }
    }

    pub(super) fn tool_names(&self, body: &[u8]) -> Vec<String> {
        let plain = self.tools.iter().filter_map(|name| string_at(body, name));
        let groups = self.value(body, Top::ToolGroups);
        let grouped = groups.into_iter().flat_map(names_in_groups);
        plain.chain(grouped).chain(self.listed_tools(body, names_of)).collect()
    }

    /// One member of every tool in the lists that lie deeper.
    fn listed_tools(&self, body: &[u8], member: fn(Raw<'_>) -> Vec<String>) -> Vec<String> {
        let mut found = Vec::new();
        for span in &self.tool_lists {
            in_list(Raw::cut_off(&body[span.clone()]), 0, member, &mut found);
        }
        found
    }

    pub(super) fn max_tokens(&self, body: &[u8]) -> Option<u64> {
        let plain = [Top::MaxCompletionTokens, Top::MaxTokens];
        let plain = plain.into_iter().find_map(|top| self.value(body, top).and_then(Raw::count));
        let settings = self.value(body, Top::Settings);
        plain.or_else(|| settings.and_then(|s| MAX_TOKENS.iter().find_map(|name| s.at(name)?.count())))
    }

    /// How many answers are wanted, where it is said.
    pub(super) fn choices(&self, body: &[u8]) -> Option<u64> {
        let plain = [Top::Choices, Top::BestOf].into_iter().filter_map(|top| self.value(body, top)?.count());
        let settings = self.value(body, Top::Settings);
        let inner = settings.and_then(|s| CHOICES.iter().find_map(|name| s.at(name)?.count()));
        plain.chain(inner).max()
    }

    /// Models beyond `model` that the provider may run: fallbacks, tools that bring a model of their own, requests within.
    pub(super) fn other_models(&self, body: &[u8]) -> Vec<String> {
        let of_tools = self.tool_models.iter().filter_map(|span| body.get(span.clone())).map(Raw::cut_off);
        let listed = [Top::Models, Top::Fallbacks].into_iter().filter_map(|top| self.value(body, top));
        let options = self.value(body, Top::ProviderOptions).into_iter();
        let gateway = options.flat_map(|all| spelt(all, "gateway")).flat_map(|own| spelt(own, "models"));
        let plugins = self.value(body, Top::Plugins).into_iter().flat_map(Raw::elements);
        let plugins = plugins.flat_map(|plugin| spelt(plugin, "allowed_models"));
        let mut found = self.listed_tools(body, models_of);
        of_tools.chain(listed).chain(gateway).chain(plugins).for_each(|value| named(value, &mut found));
        found
    }
}

impl Watch for Finds {
    #[inline]
    fn depth(&self) -> u32 {
        let depth = match self.top {
            Some(Top::History) => PART_MEMBER,
            Some(Top::Tools | Top::Functions) => TOOL_BODY_MEMBER,
            _ => TOP,
        };
        depth + self.wrapped
    }

    #[inline]
    fn key(&mut self, key: Key<'_>, depth: u32) -> bool {
        self.may_name = self.may_name || objects::may_name(self.dialect, key);
        if depth > self.depth() {
            return true;
        }
        let (name, depth) = (key.name(), depth.saturating_sub(self.wrapped));
        if depth <= TOP {
            return self.top_key(&name);
        }
        if self.top == Some(Top::History) {
            self.message_key(&name, depth)
        } else {
            self.tool_key(&name, depth)
        }
        true
    }

    #[inline]
    fn open(&mut self, body: &[u8], depth: u32, at: usize) {
        match (depth, self.top) {
            (0, _) => self.not_an_object = body[at] != b'{',
            (TOP, Some(Top::Wrapped)) if body[at] == b'{' => {
                self.wrapped = 1;
                self.top = None;
            }
            _ => {}
        }
    }

    #[inline]
    fn value(&mut self, body: &[u8], depth: u32, span: Range<usize>) {
        if depth <= self.wrapped {
            // The wrapper itself ends, or the whole body.
            self.wrapped = 0;
            if depth == 0 {
                self.not_an_object = body[span.start] != b'{';
            }
            return;
        }
        match (depth - self.wrapped, self.top) {
            (TOP, Some(top)) => {
                self.top = None;
                // A history that is a plain string is one user message.
                if top == Top::History && body[span.start] == b'"' {
                    self.messages = 1;
                    self.first_user = Some(span.clone());
                    self.last_user = Some(span.clone());
                }
                self.spans[top as usize] = Some((span.start, span.end));
            }
            (depth, Some(Top::History)) => self.message_value(body, depth, span),
            (depth, Some(Top::Tools | Top::Functions)) => self.tool_value(depth, span),
            _ => {}
        }
    }
}

pub(super) fn start_of(body: &[u8], span: Range<usize>, bytes_max: usize) -> Option<String> {
    start_of_text(body.get(span)?, bytes_max)
}

/// The beginning of a JSON string that is given with its quotes.
pub(super) fn start_of_text(text: &[u8], bytes_max: usize) -> Option<String> {
    unescape_start(text.strip_prefix(b"\"")?.strip_suffix(b"\"")?, bytes_max)
}

/// Names of tools that are declared in groups: Gemini's function declarations and built-in tools, Bedrock's tool
/// specifications.
fn names_in_groups(groups: Raw<'_>) -> Vec<String> {
    let list = groups.at("tools").unwrap_or(groups);
    let mut names = Vec::new();
    for group in list.elements() {
        for (key, value) in group.members() {
            match key.written() {
                b"functionDeclarations" | b"function_declarations" => {
                    names.extend(value.elements().filter_map(|tool| tool.at("name")?.string()));
                }
                b"toolSpec" | b"systemTool" => names.extend(value.at("name").and_then(Raw::string)),
                b"cachePoint" => {}
                // A tool that the provider runs: its key is its name.
                other => names.extend(unescape(other).map(Cow::into_owned)),
            }
        }
    }
    names
}

/// Namespaces within namespaces are looked into this deep.
const NAMESPACES_MAX: u32 = 4;

fn in_list(list: Raw<'_>, depth: u32, member: fn(Raw<'_>) -> Vec<String>, found: &mut Vec<String>) {
    for tool in list.elements() {
        match tool.at("tools").filter(|_| depth < NAMESPACES_MAX) {
            Some(inner) => in_list(inner, depth + 1, member, found),
            None => found.extend(member(tool)),
        }
    }
}

fn names_of(tool: Raw<'_>) -> Vec<String> {
    let named = |holder: Raw<'_>| holder.at("name").and_then(Raw::string);
    let inner = || ["function", "custom"].iter().find_map(|key| named(tool.at(key)?));
    named(tool).or_else(inner).or_else(|| tool.at("type")?.string()).into_iter().collect()
}

fn models_of(tool: Raw<'_>) -> Vec<String> {
    let settings = spelt(tool, "parameters").flat_map(|settings| spelt(settings, "model"));
    let mut found = Vec::new();
    spelt(tool, "model").chain(settings).for_each(|value| named(value, &mut found));
    found
}

/// Every model in a value, whatever shape it has: a name, a list, an object that names one. A name that cannot be decoded
/// stands as it is written: it is for the grants to say that they know none such.
fn named(value: Raw<'_>, found: &mut Vec<String>) {
    match value.bytes().first() {
        Some(b'"') => {
            found.push(value.string().unwrap_or_else(|| String::from_utf8_lossy(value.bytes()).into()));
        }
        Some(b'[') => value.elements().for_each(|one| named(one, found)),
        Some(b'{') => found.extend(models_of(value)),
        _ => {}
    }
}

/// Every member of that name, in any spelling that somebody behind us might read: which of several counts is theirs to
/// say.
fn spelt<'a>(object: Raw<'a>, name: &'static str) -> impl Iterator<Item = Raw<'a>> {
    let is = move |key: &[u8]| unescape(key).is_some_and(|key| key.eq_ignore_ascii_case(name));
    object.members().filter(move |(key, _)| is(key.written())).map(|(_, value)| value)
}

fn string_at(body: &[u8], span: &Range<usize>) -> Option<String> {
    Raw::cut_off(body.get(span.clone())?).string()
}
