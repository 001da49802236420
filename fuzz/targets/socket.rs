//! The exchanges of a socket (Responses, Realtime, Live), whatever either end says: each that begins ends once, what is
//! renamed asks for the new name, and no more are under way than the bound.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use weir::llm::dialect::Dialect;
use weir::llm::socket::{Of, RUNNING_MAX, Said, Socket, Ticket, model_in_query};

const DIALECTS: [Dialect; 3] = [Dialect::Responses, Dialect::Realtime, Dialect::Live];

fn client(socket: &mut Socket, open: &mut BTreeSet<Ticket>, text: &[u8]) {
    match socket.from_client(text) {
        Ok(Said::Asks(asked)) => {
            if let Some(renamed) = asked.renamed(text, "another \"name\"") {
                let Ok(Said::Asks(again)) = socket.from_client(&renamed) else { panic!("renamed, it is another") };
                assert_eq!(again.ask.model.as_deref(), Some("another \"name\""));
                assert_eq!((again.kind, again.ask.tools), (asked.kind, asked.ask.tools.clone()));
            }
            match socket.begin(&asked) {
                Some(ticket) => assert!(open.insert(ticket), "a ticket twice"),
                None => assert!(open.len() >= RUNNING_MAX, "refused below the bound"),
            }
        }
        Ok(Said::Passes(Some(ticket))) => assert!(open.contains(&ticket), "part of what has ended"),
        Ok(Said::Passes(None)) | Err(_) => {}
    }
}

fn provider(socket: &mut Socket, open: &mut BTreeSet<Ticket>, text: &[u8]) {
    let heard = socket.from_provider(text);
    let ticket = match heard.of {
        Of::Socket => return assert!(heard.ended.is_none()),
        Of::Running(ticket) => {
            assert!(open.contains(&ticket), "heard of what has ended");
            ticket
        }
        Of::Began(ticket, _) => {
            assert!(open.insert(ticket), "a ticket twice");
            ticket
        }
    };
    if heard.ended.is_some() {
        open.remove(&ticket);
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, _, bytes)) = weir_fuzz::parts(input) else { return };
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let query = String::from_utf8_lossy(lines.next().unwrap_or_default());
    let Ok(model) = model_in_query(&query) else { return };
    let mut socket = Socket::new(DIALECTS[usize::from(choice) % DIALECTS.len()], model);
    let mut open = BTreeSet::new();
    for line in lines {
        match line {
            [b'<', text @ ..] => provider(&mut socket, &mut open, text),
            text => client(&mut socket, &mut open, text),
        }
        assert!(open.len() <= RUNNING_MAX, "{} at once", open.len());
        assert_eq!(socket.is_busy(), !open.is_empty());
    }
    let ended: BTreeSet<Ticket> = socket.end().into_iter().map(|(ticket, _)| ticket).collect();
    assert_eq!(ended, open);
});
