//! Rules of the house that a compiler does not hold: who may import whom, module heads, leftovers, lengths.
//!
//! An exception stands in a list here, with its reason. The lists are meant to become shorter.

use std::fs;
use std::path::{Path, PathBuf};

/// Who may import whom; `name::name` narrows it to one module. Everybody may import from themselves.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("wire", &["base"]),
    ("llm", &["base", "wire"]),
    ("policy", &["base", "llm", "wire::credential"]),
    ("record", &["base", "llm"]),
    ("proxy", &["base", "wire", "llm", "policy", "record::record"]),
    ("admin", &["base", "wire", "policy", "record", "config", "llm::price"]),
    ("config", &["base", "llm", "policy", "record::export", "wire::credential", "wire::base64"]),
    ("cli", &["base", "config", "policy", "record", "llm"]),
    ("server", &["base", "wire", "llm", "policy", "record", "proxy", "admin", "config"]),
    ("main", &["cli"]),
];

/// Imports beside the table: file, what, why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("cli/serve.rs", "server", "the command that starts it"),
    ("cli/demo.rs", "server", "the command that starts one for itself"),
    ("cli/doctor.rs", "server", "the command that starts one to look at both of its ends"),
];

/// Macros of `base` that the compiler shows at the root.
const ROOT_MACROS: &[&str] = &["settings", "choices"];

/// Words that a floor must not know: what they stand for lives elsewhere.
const NEVER: &[(&str, &[&str])] = &[
    ("base", &["monoio", "tokio", "std::net::Tcp"]),
    ("wire", &["monoio", "std::net::Tcp", "std::net::Udp", "std::fs", "base::clock", "Instant"]),
    ("llm", &["monoio", "tokio", "std::net", "std::fs", "base::clock", "Instant"]),
    ("policy", &["monoio", "tokio", "std::net::Tcp", "std::net::Udp", "std::fs", "Instant"]),
    ("record", &["monoio", "tokio::net"]),
    ("admin", &["monoio"]),
    ("config", &["monoio", "tokio"]),
    ("cli", &["monoio"]),
];

/// The only file that names the runtime.
const RUNTIME_FILE: &str = "proxy/io.rs";

const LINES_MAX: usize = 900;
/// Longer files: which, why.
const LONG: &[(&str, &str)] = &[];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files below a folder whose names end so, with their text; what is built or fetched is left out.
fn files(folder: &Path, ends: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if path.is_dir() {
                let built = ["target", ".git", "node_modules", "artifacts", "corpus", ".venv"];
                folders.extend((!built.contains(&name.as_str())).then_some(path));
            } else if ends.iter().any(|end| name.ends_with(end)) {
                found.extend(fs::read_to_string(&path).ok().map(|text| (path, text)));
            }
        }
    }
    found.sort();
    found
}

fn source() -> Vec<(String, String)> {
    let src = root().join("src");
    let short = |path: PathBuf| path.strip_prefix(&src).expect("below it").display().to_string();
    files(&src, &[".rs"]).into_iter().map(|(path, text)| (short(path), text)).collect()
}

/// The floor that a file of `src` belongs to.
fn floor(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap_or_default()
}

/// Lines of code: number, and text without comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
}

/// `a::b` of every `crate::a::b…` and `crate::{a::b, …}` in a line of code.
fn crate_paths(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, prefix) in line.match_indices("crate::") {
        // `$crate` is what a macro writes into another file.
        if line[..at].ends_with('$') {
            continue;
        }
        let rest = &line[at + prefix.len()..];
        let listed = rest.strip_prefix('{').map(|list| list.split('}').next().unwrap_or_default());
        found.extend(listed.map_or(vec![rest], |list| list.split(',').collect()).into_iter().map(first_two));
    }
    found
}

/// The first two names of a path.
fn first_two(path: &str) -> String {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let path = path.trim_start();
    let end = path.find(|c: char| !is_path(c)).unwrap_or(path.len());
    path[..end].split("::").take(2).collect::<Vec<_>>().join("::")
}

#[test]
fn floors_import_downwards() {
    let mut faults = Vec::new();
    let mut used = Vec::new();
    for (file, text) in source().iter().filter(|(file, _)| file != "lib.rs") {
        let own = floor(file);
        let table = MAY_IMPORT.iter().find(|(name, _)| *name == own);
        let Some((_, allowed)) = table else {
            faults.push(format!("{file}: {own} stands in no line of the table"));
            continue;
        };
        for (number, line) in code(text) {
            for path in crate_paths(line) {
                let target = path.split("::").next().unwrap_or_default();
                let fits = |name: &&str| *name == target || *name == path;
                if target == own || ROOT_MACROS.contains(&target) || allowed.iter().any(fits) {
                    continue;
                }
                match EXCEPTIONS.iter().find(|(of, what, _)| of == file && fits(what)) {
                    Some(exception) => used.push(exception),
                    None => faults.push(format!("{file}:{number}: {own} must not import {path}")),
                }
            }
        }
    }
    for exception in EXCEPTIONS.iter().filter(|exception| !used.contains(exception)) {
        faults.push(format!("an exception that nobody needs: {exception:?}"));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn floors_keep_out_of_what_is_not_theirs() {
    let mut faults = Vec::new();
    for (file, text) in source() {
        let own = floor(&file);
        let never = NEVER.iter().find(|(name, _)| *name == own).map_or(&[][..], |(_, words)| words);
        // Tests at the foot of a file may do what its code may not.
        let body = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let is_tests = file.ends_with("/tests.rs") || file.contains("/tests/");
        for (number, line) in code(body).filter(|_| !is_tests) {
            let named = never.iter().find(|word| line.contains(**word));
            faults.extend(named.map(|word| format!("{file}:{number}: {own} must not know {word}")));
            if line.contains("monoio::") && file != RUNTIME_FILE {
                faults.push(format!("{file}:{number}: the runtime is named in {RUNTIME_FILE} alone"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_module_says_what_it_is() {
    let mut faults = Vec::new();
    for folder in ["src", "tests", "benches", "loadtest", "fuzz"] {
        for (path, text) in files(&root().join(folder), &[".rs"]) {
            let first = text.lines().next().unwrap_or_default();
            if !first.starts_with("//! ") {
                faults.push(format!("{}: no head", path.display()));
            }
            let lines = text.lines().count();
            let short = path.strip_prefix(root()).expect("below it").display().to_string();
            if lines > LINES_MAX && !LONG.iter().any(|(name, _)| *name == short) {
                faults.push(format!("{short}: {lines} lines"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn nothing_is_left_over() {
    // Written in two pieces, so that this list is not a finding of its own.
    let words = [
        concat!("to", "do!("),
        concat!("db", "g!("),
        concat!("unimpl", "emented!("),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
    ];
    let mut faults = Vec::new();
    let ends = [
        ".rs", ".toml", ".md", ".py", ".mjs", ".json", ".hujson", ".js", ".css", ".html", "run", "loss",
        "stage", "smoke",
    ];
    for (path, text) in files(root(), &ends).iter().filter(|(path, _)| !path.ends_with("tests/it/tidy.rs")) {
        for (index, line) in text.lines().enumerate() {
            let left = words.iter().find(|word| line.contains(**word));
            faults.extend(left.map(|word| format!("{}:{}: {word}", path.display(), index + 1)));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A file that no `mod` names compiles nowhere and fails nowhere.
#[test]
fn every_file_of_tests_is_part_of_the_binary() {
    let folder = root().join("tests/it");
    for (path, _) in files(&folder, &[".rs"]) {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let parent = path.parent().expect("a folder");
        let named_by = if parent == folder { folder.join("main.rs") } else { parent.with_extension("rs") };
        let text = fs::read_to_string(&named_by).unwrap_or_default();
        let named = text.contains(&format!("mod {name};"));
        assert!(named || name == "main", "{} does not name {name}", named_by.display());
    }
}
