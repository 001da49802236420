//! Files that are promised to work: the incumbent's shapes, and every example of the docs.

use std::path::{Path, PathBuf};

use weir::base::settings::{Problem, Severity};
use weir::config::{Loaded, Options, load};

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Every variable is set and every secret file is there: what is checked is the file.
fn loaded(path: &Path, allow_unenforced: bool) -> Result<Loaded, Vec<Problem>> {
    let text = std::fs::read_to_string(path).expect("text");
    let options =
        Options { allow_unenforced, secrets_dir: Some("/run/secrets".into()), ..Options::default() };
    load(&text, &|_| Some("secret".into()), &|_| Ok(b"secret".to_vec()), &options)
}

fn accepted(path: &Path) -> Loaded {
    loaded(path, true).unwrap_or_else(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("{}:\n{}", path.display(), lines.join("\n"))
    })
}

#[test]
fn files_of_the_incumbent_are_accepted_as_they_are() {
    let grants = accepted(&here("tests/cases/config/incumbent-grants.json"));
    assert_eq!(grants.snapshot.grants.len(), 3);
    // Its key file is not here: said, and looked for again with every token.
    assert!(grants.snapshot.providers.iter().any(|provider| provider.id == "vertex"));
    assert!(grants.warnings.iter().any(|problem| problem.what.contains("vertex.json cannot be read")));
    let temp = accepted(&here("tests/cases/config/incumbent-temp-grants.json"));
    assert_eq!((temp.snapshot.grants.len(), temp.snapshot.buckets.len()), (4, 2));
    let blanks = loaded(&here("tests/cases/config/incumbent-blanks.json"), false).expect("accepted as it is");
    for said in ["nobody is in group \"ai-users\" yet", "groups of the tailnet's own", "local: has no apikey"]
    {
        assert!(blanks.warnings.iter().any(|problem| problem.to_string().contains(said)), "{said}");
    }
    assert!(
        temp.warnings.iter().any(|problem| problem.to_string().contains("temp_grants is the older form"))
    );
}

#[test]
fn what_restricts_is_never_silently_open() {
    let path = here("tests/cases/config/incumbent-temp-grants.json");
    let refused = loaded(&path, false).expect_err("hooks and retention are not enforced yet");
    for what in ["hooks are not asked yet", "retention is not enforced yet"] {
        let said =
            |problem: &Problem| problem.severity == Severity::Unenforced && problem.what.contains(what);
        assert!(refused.iter().any(said), "{what}: {refused:#?}");
    }
    assert!(!refused.iter().any(|problem| problem.severity == Severity::Error), "{refused:#?}");
}

#[test]
fn every_example_of_the_docs_is_good() {
    let mut files = 0;
    for file in std::fs::read_dir(here("docs/examples")).expect("examples") {
        let path = file.expect("a file").path();
        let loaded = accepted(&path);
        let warned = loaded.warnings.iter().find(|problem| problem.severity == Severity::Warning);
        assert_eq!(warned, None, "{}", path.display());
        files += 1;
    }
    assert!(files >= 4, "{files} examples");
}

#[test]
fn the_three_small_examples_need_no_leave() {
    for name in ["laptop", "team"] {
        let path = here(&format!("docs/examples/{name}.hujson"));
        assert!(loaded(&path, false).is_ok(), "{name}: {:#?}", loaded(&path, false).err());
    }
}

/// The annotated example must name every key there is, so that it can be the reference.
#[test]
fn the_annotated_example_names_every_key() {
    let text = std::fs::read_to_string(here("docs/examples/everything.hujson")).expect("text");
    let schema = weir::config::file::File::json_schema();
    let mut missing = Vec::new();
    for (name, def) in schema["$defs"].as_object().expect("defs") {
        // The older forms have a file of their own.
        if name.starts_with("Temp") {
            continue;
        }
        for key in def["properties"].as_object().into_iter().flatten().map(|(key, _)| key) {
            if !text.contains(&format!("\"{key}\"")) {
                missing.push(format!("{name}.{key}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}
