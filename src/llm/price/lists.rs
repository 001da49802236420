//! Whose price list holds for a provider, how a model is looked up in it, and what the price data lacks.
//!
//! What `genai-prices` has: input, output, cache read, cache write for five minutes and an hour, reasoning, audio and
//! image tokens, searches, requests, seconds of sound; steps of prompt length; days on which prices changed and hours
//! that are cheaper; OpenAI's and Google's flex and priority tiers; batch rates; Bedrock's global and regional
//! profiles.
//!
//! What it lacks, and stands here, each with source and day: Anthropic's fast mode and places of inference, the
//! premium of Vertex' and Azure's regions, Vercel's list (which is the vendors' own).
//!
//! What neither has, so that its cost is unknown or left out: provisioned and scale tiers (bought beforehand), code
//! interpreter containers (by session), storage of caches and files (by hour), characters of text to speech.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::rate::ORDINARY_TIERS;
use super::{Terms, Unpriced};
use crate::choices;

choices! {
    /// Whose price list applies.
    pub enum CostBasis {
        /// Anthropic
        Anthropic = "anthropic",
        /// OpenAI
        Openai = "openai",
        /// Google AI
        Google = "google",
        /// Vertex AI
        Vertex = "vertex",
        /// Bedrock, as the model id says
        Bedrock = "bedrock",
        /// Bedrock, United States profiles
        BedrockUs = "bedrock-us",
        /// Bedrock, European profiles
        BedrockEu = "bedrock-eu",
        /// Bedrock, Asia-Pacific profiles
        BedrockAp = "bedrock-ap",
        /// Azure
        Azure = "azure",
        /// Azure, Europe
        AzureEu = "azure-eu",
        /// OpenRouter
        Openrouter = "openrouter",
        /// Vercel AI gateway
        Vercel = "vercel",
        /// xAI
        Xai = "xai",
        /// Groq
        Groq = "groq",
        /// DeepSeek
        Deepseek = "deepseek",
        /// Mistral
        Mistral = "mistral",
        /// Perplexity
        Perplexity = "perplexity",
        /// Together
        Together = "together",
        /// Fireworks
        Fireworks = "fireworks",
        /// Cerebras
        Cerebras = "cerebras",
        /// Moonshot
        Moonshot = "moonshot",
        /// Z.ai
        Zai = "zai",
    }
}

/// Hosts whose list is known, by the end of their name.
const HOSTS: &[(&str, CostBasis)] = &[
    ("api.anthropic.com", CostBasis::Anthropic),
    ("api.openai.com", CostBasis::Openai),
    ("chatgpt.com", CostBasis::Openai),
    ("generativelanguage.googleapis.com", CostBasis::Google),
    ("aiplatform.googleapis.com", CostBasis::Vertex),
    ("aiplatform.us.rep.googleapis.com", CostBasis::Vertex),
    ("aiplatform.eu.rep.googleapis.com", CostBasis::Vertex),
    ("openai.azure.com", CostBasis::Azure),
    ("services.ai.azure.com", CostBasis::Azure),
    ("cognitiveservices.azure.com", CostBasis::Azure),
    ("openrouter.ai", CostBasis::Openrouter),
    ("ai-gateway.vercel.sh", CostBasis::Vercel),
    ("api.x.ai", CostBasis::Xai),
    ("api.groq.com", CostBasis::Groq),
    ("api.deepseek.com", CostBasis::Deepseek),
    ("api.mistral.ai", CostBasis::Mistral),
    ("api.perplexity.ai", CostBasis::Perplexity),
    ("api.together.xyz", CostBasis::Together),
    ("api.together.ai", CostBasis::Together),
    ("api.fireworks.ai", CostBasis::Fireworks),
    ("api.cerebras.ai", CostBasis::Cerebras),
    ("api.moonshot.ai", CostBasis::Moonshot),
    ("api.moonshot.cn", CostBasis::Moonshot),
    ("api.z.ai", CostBasis::Zai),
];

impl CostBasis {
    /// The list of a provider at this host, where the host is a vendor's own.
    #[must_use]
    pub fn of_host(host: &str) -> Option<CostBasis> {
        let host = host.to_ascii_lowercase();
        let ends = |end: &str| {
            host.strip_suffix(end).is_some_and(|before| {
                // Vertex' hosts begin with a region and a hyphen, the others with a label and a dot.
                before.is_empty()
                    || before.ends_with('.')
                    || (end.starts_with("aiplatform") && before.ends_with('-'))
            })
        };
        if host.ends_with(".amazonaws.com") && host.starts_with("bedrock") || host.ends_with(".api.aws") {
            return Some(CostBasis::Bedrock);
        }
        HOSTS.iter().find(|(end, _)| ends(end)).map(|(_, basis)| *basis)
    }

    /// Whether the name in the request says more than the one in the answer: Bedrock answers with the vendor's name
    /// and bills by inference profile.
    #[must_use]
    pub fn bills_by_name_asked(self) -> bool {
        self.is_bedrock()
    }

    fn is_bedrock(self) -> bool {
        matches!(
            self,
            CostBasis::Bedrock | CostBasis::BedrockUs | CostBasis::BedrockEu | CostBasis::BedrockAp
        )
    }

    /// Name of the list in the price data.
    #[must_use]
    pub fn provider(self) -> &'static str {
        match self {
            CostBasis::Anthropic => "anthropic",
            CostBasis::Openai => "openai",
            CostBasis::Google | CostBasis::Vertex => "google",
            CostBasis::Bedrock | CostBasis::BedrockUs | CostBasis::BedrockEu | CostBasis::BedrockAp => "aws",
            CostBasis::Azure | CostBasis::AzureEu => "azure",
            CostBasis::Openrouter => "openrouter",
            // Has no list of its own: each model is priced by its vendor's.
            CostBasis::Vercel => "vercel",
            CostBasis::Xai => "x-ai",
            CostBasis::Groq => "groq",
            CostBasis::Deepseek => "deepseek",
            CostBasis::Mistral => "mistral",
            CostBasis::Perplexity => "perplexity",
            CostBasis::Together => "together",
            CostBasis::Fireworks => "fireworks",
            CostBasis::Cerebras => "cerebras",
            CostBasis::Moonshot => "moonshotai",
            CostBasis::Zai => "zai",
        }
    }
}

impl Serialize for CostBasis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for CostBasis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        CostBasis::from_name(&name).ok_or_else(|| serde::de::Error::custom("no such price list"))
    }
}

/// One question to the price data, with what is of our own.
#[derive(Debug)]
pub struct Question<'a> {
    /// Whose list, as the user calls it.
    pub list: &'static str,
    /// Whose list, as the data calls it.
    pub provider: &'static str,
    /// Name of the model there.
    pub model: &'a str,
    /// Tier or way of processing that has rates of its own there.
    pub context: Option<(&'static str, &'static str)>,
    /// What the response said of tier, speed and place, for people.
    pub said: String,
    /// Factor on all token rates: speed, place.
    pub factor: f64,
}

/// Vendors as Vercel's model ids begin, and the price data's name for them (vercel.com/docs/ai-gateway/pricing,
/// November 2026: the vendors' own prices without a markup).
const VERCEL_VENDORS: &[(&str, &str)] = &[
    ("anthropic", "anthropic"),
    ("openai", "openai"),
    ("google", "google"),
    ("xai", "x-ai"),
    ("mistral", "mistral"),
    ("deepseek", "deepseek"),
    ("perplexity", "perplexity"),
    ("cohere", "cohere"),
    ("moonshotai", "moonshotai"),
    ("zai", "zai"),
    ("minimax", "minimax"),
];

/// Turn what is known of an exchange into a question. `scratch` holds the model's name where it has to be made.
pub fn question<'a>(
    basis: CostBasis,
    model: &'a str,
    terms: &Terms,
    scratch: &'a mut String,
) -> Result<Question<'a>, Unpriced> {
    let list = basis.name();
    let mut provider = basis.provider();
    let mut model = bare(model);
    if basis == CostBasis::Vercel {
        let (vendor, rest) = model.split_once('/').unwrap_or(("", model));
        let known = VERCEL_VENDORS.iter().find(|(name, _)| *name == vendor);
        let Some((_, name)) = known else {
            return Err(Unpriced::NoModel { list, model: model.to_owned() });
        };
        (provider, model) = (name, rest);
    }
    if let Some(profile) = profile(basis, model) {
        scratch.clear();
        scratch.push_str(profile);
        scratch.push_str(model);
        model = scratch;
    }
    let claude = model.contains("claude");
    let speed = speed_factor(terms, model)?;
    let place = place_factor(basis, terms, model, claude)?;
    let context = context(terms)?;
    let said = terms.service_tier.clone().unwrap_or_default();
    Ok(Question {
        list,
        provider,
        model,
        context,
        said: format!("{model} at tier {said}"),
        factor: speed * place,
    })
}

/// The name without what only says where the model is: `models/…`, `publishers/google/models/…`, an ARN's account.
fn bare(model: &str) -> &str {
    if let Some(at) = model.rfind("models/") {
        return &model[at + "models/".len()..];
    }
    if model.starts_with("arn:") {
        return model.rsplit('/').next().unwrap_or(model);
    }
    model
}

/// The prefix of a Bedrock id that says where it runs, where the id has none and the configuration says so.
fn profile(basis: CostBasis, model: &str) -> Option<&'static str> {
    const PLACES: [&str; 7] = ["us.", "eu.", "apac.", "global.", "us-gov.", "jp.", "au."];
    if PLACES.iter().any(|place| model.starts_with(place)) {
        return None;
    }
    match basis {
        CostBasis::BedrockUs => Some("us."),
        CostBasis::BedrockEu => Some("eu."),
        CostBasis::BedrockAp => Some("apac."),
        _ => None,
    }
}

/// The tier as the price data calls it; none for the ordinary one.
fn context(terms: &Terms) -> Result<Option<(&'static str, &'static str)>, Unpriced> {
    let Some(said) = &terms.service_tier else { return Ok(None) };
    match said.to_ascii_lowercase().as_str() {
        tier if tier.is_empty() || ORDINARY_TIERS.contains(&tier) => Ok(None),
        "flex" | "on_demand_flex" => Ok(Some(("service_tier", "flex"))),
        "priority" | "on_demand_priority" => Ok(Some(("service_tier", "priority"))),
        "fast" => Ok(Some(("service_tier", "fast"))),
        "batch" => Ok(Some(("processing", "batch"))),
        // Bought beforehand, or not known.
        _ => Err(Unpriced::NoTerms { said: format!("service tier {said}") }),
    }
}

/// Anthropic's fast mode multiplies all token prices, whatever the prompt's length and whatever is cached
/// (platform.claude.com/docs/en/build-with-claude/fast-mode, and for the retired ones OpenRouter's listing;
/// read November 2026).
const FAST: &[(&str, f64)] = &[
    ("claude-opus-4-6", 6.0),
    ("claude-opus-4-7", 6.0),
    ("claude-opus-4-8", 2.0),
    ("claude-opus-5-5", 2.0),
    ("claude-opus-5", 2.0),
];

fn speed_factor(terms: &Terms, model: &str) -> Result<f64, Unpriced> {
    match terms.speed.as_deref() {
        None | Some("" | "standard") => Ok(1.0),
        Some("fast") => {
            let factor = FAST.iter().find(|(name, _)| model.contains(name)).map(|(_, factor)| *factor);
            factor.ok_or_else(|| Unpriced::NoTerms { said: format!("{model} in fast mode") })
        }
        Some(other) => Err(Unpriced::NoTerms { said: format!("speed {other}") }),
    }
}

/// A guarantee of where inference runs costs a tenth more.
const PLACE_PREMIUM: f64 = 1.1;

/// Models of Anthropic that were sold before the premium on Vertex' regions began
/// (cloud.google.com/vertex-ai/generative-ai/pricing, 2026: from Sonnet 4.5, Haiku 4.5 and Opus 4.5 on).
const BEFORE_PREMIUM: &[&str] =
    &["claude-3", "claude-2", "claude-instant", "claude-sonnet-4@", "claude-opus-4@", "claude-opus-4-1"];

fn place_factor(basis: CostBasis, terms: &Terms, model: &str, claude: bool) -> Result<f64, Unpriced> {
    // Anthropic (platform.claude.com/docs/en/about-claude/pricing, data residency, 2026): 1.1 where inference_geo is
    // "us"; models without the choice say "not_available".
    let geo = match terms.inference_geo.as_deref() {
        None | Some("" | "global" | "not_available") => 1.0,
        Some("us") => PLACE_PREMIUM,
        Some(other) => return Err(Unpriced::NoTerms { said: format!("inference in {other}") }),
    };
    let region = terms.region.as_deref().unwrap_or("");
    let by_region = match basis {
        // Claude on Vertex: any endpoint but the global one.
        CostBasis::Vertex if claude && !matches!(region, "" | "global") => {
            let before =
                BEFORE_PREMIUM.iter().any(|name| model.starts_with(name)) || model == "claude-sonnet-4";
            if before { 1.0 } else { PLACE_PREMIUM }
        }
        // Azure's data zones and regions against its global deployments, which are what the price data has
        // (azure.microsoft.com/pricing/details/cognitive-services/openai-service, 2026: GPT-4o 2.75 to 2.50 …).
        CostBasis::AzureEu => PLACE_PREMIUM,
        _ => 1.0,
    };
    Ok(geo * by_region)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_tell_their_list() {
        for (host, expected) in [
            ("api.anthropic.com", Some(CostBasis::Anthropic)),
            ("eu.api.openai.com", Some(CostBasis::Openai)),
            ("us-east5-aiplatform.googleapis.com", Some(CostBasis::Vertex)),
            ("aiplatform.googleapis.com", Some(CostBasis::Vertex)),
            ("bedrock-runtime.eu-central-1.amazonaws.com", Some(CostBasis::Bedrock)),
            ("bedrock-mantle.us-east-1.api.aws", Some(CostBasis::Bedrock)),
            ("ours.openai.azure.com", Some(CostBasis::Azure)),
            ("evil-api.openai.com.example", None),
            ("notapi.openai.com", None),
            ("127.0.0.1", None),
        ] {
            assert_eq!(CostBasis::of_host(host), expected, "{host}");
        }
    }
}
