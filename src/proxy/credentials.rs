//! What an attempt shows a provider: the field that the file holds, a token that was made, or a signature.
//!
//! Made ones are asked of the control thread and kept per core, to be asked for again well before they end. A core keeps
//! one for a minute at most, since the control thread may have made a better one meanwhile.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::core::Core;
use super::fault::{Fault, Kind};
use crate::base::clock::{self, Moment};
use crate::llm::provider::sigv4::{self, Signed, Signer};
use crate::policy::snapshot::Provider;
use crate::wire::credential::{Made, Source};
use crate::wire::crossing::Ask;
use crate::wire::h1::write_field;

/// How long a core keeps one, at most.
const KEPT: Duration = Duration::from_secs(60);
/// An end this near is no reason to ask again and again: whoever makes them is behind.
const KEPT_LEAST: Duration = Duration::from_secs(1);
/// Sources remembered; a core speaks for few, so at the bound all are forgotten.
const SOURCES_MAX: usize = 256;
/// Service name in signatures.
const BEDROCK: &str = "bedrock";

/// A core's memory of made credentials.
#[derive(Default)]
pub(super) struct Credentials(RefCell<HashMap<Source, (Moment, Rc<Made>)>>);

/// What an attempt shows.
#[derive(Clone, Debug, Default)]
pub(super) enum Shown {
    /// What stands in the file, if anything does.
    #[default]
    Written,
    /// What was made of the provider's source.
    Made(Rc<Made>),
}

impl Credentials {
    /// What to show a provider now.
    pub(super) async fn obtain(&self, core: &Core, provider: &Provider) -> Result<Shown, Fault> {
        let Some(source) = &provider.made_from else { return Ok(Shown::Written) };
        let kept = self.0.borrow().get(source).filter(|(until, _)| clock::now() < *until).cloned();
        match kept {
            Some((_, made)) => Ok(Shown::Made(made)),
            None => Box::pin(self.ask(core, source, None)).await.map(Shown::Made),
        }
    }

    /// The provider has refused this one: another, if there is one that differs.
    pub(super) async fn instead(&self, core: &Core, provider: &Provider, refused: &Shown) -> Option<Shown> {
        let (Some(source), Shown::Made(old)) = (&provider.made_from, refused) else { return None };
        let made = Box::pin(self.ask(core, source, Some(Made::clone(old)))).await.ok()?;
        (*made != **old).then_some(Shown::Made(made))
    }

    async fn ask(&self, core: &Core, source: &Source, refused: Option<Made>) -> Result<Rc<Made>, Fault> {
        let away =
            || Fault::because(Kind::Credential { configured_wrong: false }, "the control thread is gone");
        let (reply, answer) = oneshot::channel();
        core.asks.send(Ask::Credential(source.clone(), refused, reply)).await.map_err(|_| away())?;
        let lasting = answer.await.map_err(|_| away())?.map_err(|unmade| {
            Fault::because(Kind::Credential { configured_wrong: unmade.configured_wrong }, unmade.why)
        })?;
        let left = Duration::from_micros(lasting.until.saturating_sub(clock::wall()));
        let until = clock::now().plus((left / 2).clamp(KEPT_LEAST, KEPT));
        let made = Rc::new(lasting.made);
        let mut kept = self.0.borrow_mut();
        if kept.len() >= SOURCES_MAX {
            kept.clear();
        }
        kept.insert(source.clone(), (until, made.clone()));
        Ok(made)
    }
}

/// Whether requests to it are signed over their whole body.
pub(super) fn signs(provider: &Provider) -> bool {
    provider.signing.is_some() || matches!(provider.made_from, Some(Source::AwsChain | Source::AwsProfile(_)))
}

/// A request that is signed: its target, the fields to cover so far, its body.
pub(super) struct ToSign<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    pub(super) covered: Vec<(String, String)>,
    pub(super) body: &'a [u8],
}

/// Write the credential's fields into a head; what signs covers them and what `to_sign` names.
pub(super) fn write(out: &mut Vec<u8>, provider: &Provider, shown: &Shown, to_sign: ToSign<'_>) {
    let made = match shown {
        Shown::Made(made) => Some(&**made),
        Shown::Written => provider.signing.as_ref(),
    };
    match made {
        None => {
            if let Some(credential) = &provider.credential {
                write_field(out, credential.field.as_bytes(), credential.value.as_bytes());
            }
        }
        Some(Made::Bearer(token)) => write_field(out, b"authorization", format!("Bearer {token}").as_bytes()),
        Some(Made::Aws { access_key_id, secret_access_key, session_token }) => {
            let region = provider.region.as_deref().or_else(|| sigv4::region_of(&provider.origin.host));
            let region = region.unwrap_or_default();
            let signer = Signer { access_key_id, secret_access_key, region, service: BEDROCK };
            write_signature(out, &signer, session_token.as_deref(), to_sign);
        }
    }
}

fn write_signature(out: &mut Vec<u8>, signer: &Signer<'_>, session: Option<&str>, mut to_sign: ToSign<'_>) {
    let date = sigv4::date(clock::wall());
    let own = [("x-amz-date", Some(&*date)), ("x-amz-security-token", session)];
    for (name, value) in own.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        write_field(out, name.as_bytes(), value.as_bytes());
        to_sign.covered.push((name.to_owned(), value.to_owned()));
    }
    let authorization = signer.authorization(&Signed {
        method: to_sign.method,
        target: to_sign.target,
        fields: &to_sign.covered,
        body_hash: &sigv4::body_hash(to_sign.body),
        date: &date,
    });
    write_field(out, b"authorization", authorization.as_bytes());
}
