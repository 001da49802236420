//! Why somebody may, or may not: `/api/explain`. The same function answers as `weir explain` asks on a file.

use super::{Room, Visit};
use crate::admin::audit::Look;
use crate::admin::question::decoded;
use crate::admin::reply::{Answer, Problem, json};
use crate::policy::explain::{Question, somebody};

/// Longest value of a parameter, and most groups.
const VALUE_BYTES_MAX: usize = 512;
const GROUPS_MAX: usize = 64;

/// The parameters as they came.
#[derive(Default)]
struct Asked {
    who: Option<String>,
    groups: Vec<String>,
    loopback: bool,
    model: Option<String>,
    provider: Option<String>,
    tool: Option<String>,
    agent: Option<String>,
    flag: Option<String>,
}

/// One answer for each flag asked about. Everybody may ask about themselves, whoever sees records about anybody.
pub(super) async fn page(room: &Room, visit: &Visit<'_>) -> Answer {
    let asked = Asked::read(visit.query)?;
    let own = asked.who.as_deref().is_none_or(|who| who == visit.viewer.name());
    let as_is = own && asked.groups.is_empty() && !asked.loopback;
    let who = match &asked.who {
        // As a source has vouched for them, with groups and carried grants.
        _ if as_is && (asked.who.is_none() || !visit.viewer.sees_records()) => visit.asker.clone(),
        Some(who) if visit.viewer.sees_records() => somebody(who, &asked.groups, asked.loopback),
        _ => return Err(Problem::new(403, "what others may do is seen by admins and auditors only")),
    };
    room.audit
        .note(&visit.viewer, Look::Explain { principal: who.label(), model: asked.model.clone() })
        .await?;
    let Asked { model, provider, tool, agent, .. } = asked;
    let discreet = !visit.viewer.sees_records();
    let question = Question { who, model, provider, tool, agent, discreet, flag: None };
    let question = match asked.flag {
        Some(name) => {
            question.of_flag(&name).ok_or_else(|| Problem::new(400, "parameter `flag` is no flag"))?
        }
        None => question,
    };
    let snapshot = room.facts.snapshot();
    // A thousand grants are a moment's work, and the control loop has none to lend.
    let looked = tokio::task::spawn_blocking(move || question.answers(&snapshot)).await;
    json(&looked.map_err(|_| Problem::new(500, "the question could not be answered"))?)
}

impl Asked {
    fn read(query: Option<&str>) -> Result<Self, Problem> {
        let mut asked = Self::default();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value).filter(|value| value.len() <= VALUE_BYTES_MAX);
            let value = value.ok_or_else(|| Problem::new(400, "a parameter is too long or not UTF-8"))?;
            match name {
                "as" => asked.who = Some(value),
                "group" if asked.groups.len() < GROUPS_MAX => asked.groups.push(value),
                "loopback" => asked.loopback = matches!(value.as_str(), "" | "1" | "true"),
                "model" => asked.model = Some(value),
                "provider" => asked.provider = Some(value),
                "tool" => asked.tool = Some(value),
                "agent" => asked.agent = Some(value),
                "flag" => asked.flag = Some(value),
                _ => {
                    let known = "known: as, group, loopback, model, provider, tool, agent, flag";
                    return Err(Problem::new(400, "a parameter is not known here").detail(known));
                }
            }
        }
        if asked.provider.is_some() && asked.model.is_none() {
            return Err(Problem::new(400, "parameter `provider` goes with `model`"));
        }
        Ok(asked)
    }
}
