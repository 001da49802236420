//! What a request wants: from its head and, as it arrives, from its body.
//!
//! ```text
//!   JSON, uncoded     read while it arrives; the model is enough to go on      the rest is judged before the last byte goes
//!   coded (gzip, …)   all of it, from a decoded copy                           what came is what is forwarded
//!   a form            all of it; JSON that is called one is read both ways
//!   a batch           all of it, and each of its requests
//!   ids of objects    all of it: they decide the provider
//! ```

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use super::account::Account;
use super::conn::Conn;
use super::core::Core;
use super::fault::{Fault, Kind};
use super::heads;
use super::request::Body;
use crate::base::clock;
use crate::llm::ask::{Ask, AskReader};
use crate::llm::batch::Batch;
use crate::llm::dialect::Dialect;
use crate::llm::dialect::paths::{Endpoint, Flag, Route};
use crate::llm::form::{self, Form, Written};
use crate::wire::decode::{self, Decoder};
use crate::wire::h1::Request;

/// Largest decoded form of a compressed request body that is read for its model.
const DECODED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How far a request has been read.
#[derive(Default)]
pub(super) struct Asked {
    /// Reads on while the body still arrives; none once all has been judged.
    pub(super) reader: Option<Box<AskReader>>,
    /// Where the body names its model.
    pub(super) spot: Option<Spot>,
    /// Flags that a batch's requests need at the provider.
    pub(super) flags: BTreeSet<Flag>,
}

/// Where a body names its model: what a renaming replaces. In a coded body it is the place in its decoded copy.
#[derive(Clone, Debug)]
pub(super) enum Spot {
    /// A JSON string, quotes included.
    Json(Range<usize>),
    /// A form's field, bare.
    Form(Range<usize>),
}

/// Read the request until its model is known, or to its end where that must be.
pub(super) async fn ask(
    core: &Core,
    conn: &mut Conn,
    request: &Request,
    route: &Route,
    body: &mut Body,
    account: &mut Account,
) -> Result<Asked, Fault> {
    let waits_since = (!body.is_done()).then(clock::now);
    let written = form::written(request.head.fields.all("content-type"))?;
    let in_query = heads::models_in_query(&request.head.target);
    let mut reader = matches!(request.head.method.as_str(), "POST" | "PUT" | "PATCH")
        .then(|| Box::new(AskReader::for_route(route).with_more_models(in_query.clone())));
    let whole = written != Written::Json || is_coded(request) || decides_by_objects(route);
    let known = loop {
        if body.is_done() {
            break false;
        }
        if !whole
            && let Some(reader) = &mut reader
            && reader.advance(&body.bytes)?
        {
            break true;
        }
        body.more(core, conn).await?;
    };
    if let Some(since) = waits_since {
        account.waited(clock::now().since(since));
    }
    account.request_complete = body.is_done();
    // An object's own endpoints may be asked without a body.
    let bare = body.is_done() && body.bytes.is_empty() && names_no_model(route.endpoint);
    let Some(reader) = reader.filter(|_| !bare) else {
        account.asked(
            request,
            Ask { model: route.model_in_path.clone(), other_models: in_query, ..Ask::default() },
        );
        return Ok(Asked { reader: None, spot: None, flags: BTreeSet::new() });
    };
    if known {
        let model = reader.model(&body.bytes).map(Cow::into_owned);
        account.asked(request, Ask { model, other_models: in_query, ..Ask::default() });
        let spot = reader.model_span().map(Spot::Json);
        return Ok(Asked { reader: Some(reader), spot, flags: BTreeSet::new() });
    }
    let text = plain(request, &body.bytes)?;
    let mut batch = Batch::default();
    let (mut ask, spot) = match &written {
        Written::Parts(boundary) => {
            let form = Form::read(&text, boundary)?;
            if form.value(&text, "purpose")?.as_deref() == Some("batch") {
                batch = Batch::of_lines(form.file("file")?.map_or(&[][..], |file| &text[file]))?;
            }
            let mut ask = form.ask(&text)?;
            ask.model = route.model_in_path.clone().or(ask.model);
            ask.other_models = in_query;
            (ask, form.model_span().map(Spot::Form))
        }
        Written::Json | Written::JsonOrQuery => {
            if route.endpoint == Endpoint::Make && route.dialect == Dialect::Messages {
                batch = Batch::of_messages(&text)?;
            }
            let (ask, span) = reader.finish_placed(&text)?;
            (ask, span.map(Spot::Json))
        }
    };
    if written == Written::JsonOrQuery {
        ask.other_models.extend(heads::models_in(&String::from_utf8_lossy(&text)));
    }
    ask.other_models.extend(batch.models);
    ask.objects.extend(batch.objects);
    if route.endpoint == Endpoint::Make && route.dialect == Dialect::Gemini {
        // A cache calls its model by a path.
        ask.model = ask.model.map(|name| name.strip_prefix("models/").map_or(name.clone(), str::to_owned));
    }
    account.asked(request, ask);
    Ok(Asked { reader: None, spot, flags: batch.flags })
}

/// Whether bodies of an endpoint need not name a model.
fn names_no_model(endpoint: Endpoint) -> bool {
    matches!(endpoint, Endpoint::Make | Endpoint::Object | Endpoint::Retrieve | Endpoint::Results)
}

/// Whether ids in the body decide where it goes, so that all of it is read first.
fn decides_by_objects(route: &Route) -> bool {
    matches!(route.dialect, Dialect::Responses | Dialect::Interactions)
        || matches!(route.endpoint, Endpoint::Make | Endpoint::Object | Endpoint::Results)
}

/// Whether any coding stands over the body.
pub(super) fn is_coded(request: &Request) -> bool {
    request
        .head
        .fields
        .all("content-encoding")
        .any(|coding| !coding.trim_ascii().eq_ignore_ascii_case(b"identity"))
}

/// The body as its reader sees it: a decoded copy of a coded one; the coded one is what is forwarded.
pub(super) fn plain<'b>(request: &Request, body: &'b [u8]) -> Result<Cow<'b, [u8]>, Fault> {
    if !is_coded(request) {
        return Ok(Cow::Borrowed(body));
    }
    let refused = |why: decode::DecodeFault| Fault::because(Kind::Coding, why.reason());
    let Some(mut decoder) = Decoder::new(request.head.fields.all("content-encoding")).map_err(refused)?
    else {
        return Ok(Cow::Borrowed(body));
    };
    let mut plain = Vec::new();
    decoder.take(body);
    while decoder.has_more() {
        decoder.go_on(&mut |piece| plain.extend_from_slice(piece)).map_err(refused)?;
        if plain.len() > DECODED_BYTES_MAX {
            return Err(Fault::because(Kind::Coding, "decoded form over the bound"));
        }
    }
    Ok(Cow::Owned(plain))
}
