//! Requests: read the same whole and growing; whatever is accepted is JSON to others too, and names the same model.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::llm::ask::AskReader;
use weir::llm::dialect::Dialect;

fuzz_target!(|input: &[u8]| {
    let Some((choice, seed, bytes)) = weir_fuzz::parts(input) else { return };
    let dialect = Dialect::ALL[usize::from(choice) % Dialect::ALL.len()];
    let whole = AskReader::new(dialect).finish(bytes);
    let mut growing = AskReader::new(dialect);
    let (mut seen, mut model) = (0, None);
    for piece in weir_fuzz::cut(bytes, seed) {
        seen += piece.len();
        match growing.advance(&bytes[..seen]) {
            Ok(true) if model.is_none() => model = growing.model(bytes).map(|name| name.into_owned()),
            Ok(_) => {}
            Err(_) => return assert!(whole.is_err(), "refused growing, accepted whole"),
        }
    }
    let grown = growing.finish(bytes);
    match (&whole, &grown) {
        (Ok(whole), Ok(grown)) => assert_eq!(whole, grown),
        (whole, grown) => assert_eq!(whole.is_ok(), grown.is_ok()),
    }
    if let (Ok(ask), Some(early)) = (&whole, &model) {
        assert_eq!(ask.model.as_ref(), Some(early), "the model that was decided upon");
    }
});
