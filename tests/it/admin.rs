//! Pages of a running gateway: who sees what, rows as golden JSON, the live tail, the control socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use loadtest::{Knobs, Request};
use serde_json::{Value, json};
use weir::base::clock;

use crate::gate::Gate;

const ASK: &str = r#"{"model":"claude-sonnet-4-5","max_tokens":64,"stream":true,"messages":[{"role":"user","content":"hello"}]}"#;

/// A page as it came.
struct Page {
    status: u16,
    head: String,
    body: String,
}

impl Page {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|why| panic!("{why}: {}{}", self.head, self.body))
    }

    fn field(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

fn read_page(mut stream: impl Read + Write, request: &str) -> Page {
    stream.write_all(request.as_bytes()).expect("the gateway takes the request");
    let mut text = Vec::new();
    stream.read_to_end(&mut text).expect("the gateway answers and closes");
    let text = String::from_utf8(text).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    Page { status, head: head.into(), body: body.into() }
}

/// Over TCP, as the local user.
fn visit(gate: &Gate, method: &str, target: &str, fields: &str) -> Page {
    let stream = TcpStream::connect(gate.addr).expect("the gateway accepts");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
    let request =
        format!("{method} {target} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{fields}\r\n", gate.addr);
    read_page(stream, &request)
}

fn get(gate: &Gate, target: &str) -> Page {
    visit(gate, "GET", target, "")
}

/// Over the control socket, as admin.
fn command(gate: &Gate, method: &str, target: &str) -> Page {
    let stream =
        UnixStream::connect(gate.data.path().join("control.sock")).expect("the control socket answers");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
    read_page(stream, &format!("{method} {target} HTTP/1.0\r\nhost: weir\r\n\r\n"))
}

/// Ask until the answer is as wanted: records are durable a moment after the exchange.
fn until(what: &str, mut ask: impl FnMut() -> Option<Value>) -> Value {
    let end = clock::now().plus(Duration::from_secs(10));
    while clock::now() < end {
        if let Some(found) = ask() {
            return found;
        }
        clock::pause(Duration::from_millis(20));
    }
    panic!("{what} did not come in time");
}

fn first_request(gate: &Gate) -> Value {
    until("the record", || {
        let page = get(gate, "/api/requests");
        (page.status == 200).then(|| page.json()[0].clone()).filter(|row| row["id"].is_string())
    })
}

fn exchange(gate: &Gate) {
    let checked = gate.client().check(&Request::messages(ASK), gate.provider.knobs()).expect("an answer");
    assert!(checked.perfect(), "{checked:?}");
}

/// Another principal's record, handed to the writer as a predecessor would.
fn hand_over_of(gate: &Gate, principal: &str) -> String {
    use weir::base::id::ExchangeId;
    use weir::record::record::{Note, Open, Outcome, Record, Who};
    let id = ExchangeId::new(1_700_000_000_000_000, 7, 1, 1);
    let who = Who { principal: principal.into(), source: "key".into(), ..Who::default() };
    let record = Record { id, who: who.clone(), outcome: Outcome::Ok, status: 200, ..Record::default() };
    let open = Open { id, who, ..Open::default() };
    let notes = [Note::Open(Box::new(open)), Note::Close(Box::new(record))];
    weir::record::handover::send(&gate.data.path().join("writer.sock"), &notes, &[]).expect("it is durable");
    id.to_string()
}

fn names_of(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn an_exchange_is_found_by_every_question() {
    let gate = Gate::start(Knobs::of("tools=1"));
    exchange(&gate);
    let row = first_request(&gate);
    assert_eq!(row["model_asked"], "claude-sonnet-4-5");
    assert_eq!(row["outcome"], "ok");
    assert_eq!(row["tools"].as_array().map(Vec::len), Some(1));
    let id = row["id"].as_str().unwrap();

    let record = get(&gate, &format!("/api/requests/{id}")).json();
    assert_eq!(record["id"], row["id"]);
    assert_eq!(record["times"]["accepted_at_us"], row["accepted_at_us"]);
    let request = get(&gate, &format!("/api/requests/{id}/bodies/request"));
    assert_eq!(request.body, ASK);
    let response = get(&gate, &format!("/api/requests/{id}/bodies/response?decoded=1"));
    assert!(response.body.starts_with("event: message_start"), "{}", response.body);
    assert_eq!(response.field("content-type"), Some("text/plain; charset=utf-8"));

    for by in
        ["model", "agent", "principal", "provider", "session", "tool", "outcome", "hour", "day", "total"]
    {
        let rows = get(&gate, &format!("/api/usage?by={by}&since=1h")).json();
        assert_eq!(rows[0]["exchanges"], 1, "{by}: {rows}");
        assert_eq!(rows[0]["output_tokens"], row["output_tokens"], "{by}");
    }
    assert_eq!(get(&gate, "/api/usage?by=model&model=other").json(), json!([]));
    assert_eq!(get(&gate, "/api/tools").json()[0]["calls"], 1);
    assert_eq!(get(&gate, "/api/sessions").status, 200);

    let front = get(&gate, "/api/overview").json();
    assert_eq!(front["totals"]["total"]["exchanges"], 1);
    assert_eq!(front["totals"]["records_lost"], 0);
    assert_eq!(front["viewer"]["role"], "user");
    assert_eq!(front["per_minute"].as_array().map(Vec::len), Some(60));
    let last_hour: u64 =
        front["per_minute"].as_array().unwrap().iter().filter_map(|m| m["exchanges"].as_u64()).sum();
    assert_eq!(last_hour, 1);
}

/// The names of the rows are a public face: a change here is a change of the API.
#[test]
fn rows_have_the_names_that_are_promised() {
    let gate = Gate::start(Knobs::of("tools=1"));
    exchange(&gate);
    first_request(&gate);
    let golden: Value = serde_json::from_str(include_str!("admin/rows.json")).expect("golden JSON");
    let front = get(&gate, "/api/overview").json();
    let seen = json!({
        "requests": names_of(&get(&gate, "/api/requests").json()[0]),
        "usage": names_of(&get(&gate, "/api/usage").json()[0]),
        "tools": names_of(&get(&gate, "/api/tools").json()[0]),
        "sessions": names_of(&get(&gate, "/api/sessions").json()[0]),
        "overview": names_of(&front),
        "totals": names_of(&front["totals"]),
        "health": names_of(&get(&gate, "/api/health").json()),
        "settings-lines": names_of(&get(&gate, "/api/settings-lines").json()[0]),
    });
    if std::env::var_os("UPDATE").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/admin/rows.json");
        std::fs::write(path, format!("{seen:#}\n")).expect("the golden file is written");
        return;
    }
    assert_eq!(seen, golden, "run with UPDATE=1 if the change is meant");
}

#[test]
fn a_user_sees_only_own_rows_and_an_admin_is_written_down() {
    let gate = Gate::start(Knobs::default());
    exchange(&gate);
    first_request(&gate);
    let other = hand_over_of(&gate, "somebody-else");
    let everybodys = until("both rows", || {
        let rows = command(&gate, "GET", "/api/requests").json();
        (rows.as_array().map(Vec::len) == Some(2)).then_some(rows)
    });
    assert!(everybodys.to_string().contains("somebody-else"));

    for target in ["/api/requests", "/api/usage?by=principal", "/api/overview", "/api/sessions", "/api/tools"]
    {
        let page = get(&gate, target);
        assert_eq!(page.status, 200, "{target}: {}", page.body);
        assert!(
            !page.body.contains("somebody-else") && !page.body.contains(&other),
            "{target}: {}",
            page.body
        );
    }
    assert_eq!(get(&gate, "/api/requests?principal=somebody-else").status, 403);
    assert_eq!(get(&gate, &format!("/api/requests/{other}")).status, 404);
    assert_eq!(get(&gate, &format!("/api/requests/{other}/bodies/request")).status, 404);
    assert_eq!(command(&gate, "GET", &format!("/api/requests/{other}")).status, 200);

    let audit = std::fs::read_to_string(gate.data.path().join("audit.log")).expect("an audit log");
    let lines: Vec<Value> = audit.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(lines.iter().all(|line| line["through"] == "socket"), "users' looks are not audited: {audit}");
    let look = &lines.last().expect("a line")["look"]["exchange"];
    assert_eq!(*look, json!({"id": other, "principal": "somebody-else", "part": "record"}));
    let mode = std::fs::metadata(gate.data.path().join("audit.log")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn no_audit_line_no_look() {
    let full = |options: weir::server::Options| {
        // A log on a disk that is full.
        std::os::unix::fs::symlink("/dev/full", options.data.join("audit.log")).expect("a link");
        options
    };
    let gate = Gate::with(Knobs::default(), Default::default(), full);
    exchange(&gate);
    let own = first_request(&gate)["id"].as_str().map(str::to_owned).unwrap();
    let other = hand_over_of(&gate, "somebody-else");
    // Durable is not indexed yet: until then there is no such exchange.
    let refused = until("the other's record", || {
        let page = command(&gate, "GET", &format!("/api/requests/{other}"));
        (page.status != 404).then(|| page.json())
    })
    .to_string();
    assert!(refused.contains("503") && refused.contains("audit log"), "{refused}");
    assert!(!refused.contains("somebody-else"), "{refused}");
    assert_eq!(command(&gate, "GET", "/api/requests").status, 503);
    assert_eq!(get(&gate, &format!("/api/requests/{own}")).status, 200, "own records need no line");
}

#[test]
fn the_link_makes_an_admin_once() {
    let gate = Gate::start(Knobs::default());
    let link = gate.server.as_ref().and_then(|server| server.admin_link()).expect("a link");
    let target = link.strip_prefix(&format!("http://{}", gate.addr)).expect("our address").to_owned();
    let entered = get(&gate, &target);
    assert_eq!((entered.status, entered.field("location")), (303, Some("/ui")));
    let cookie = entered.field("set-cookie").expect("a cookie").split(';').next().unwrap().to_owned();
    let with_cookie = format!("cookie: {cookie}\r\n");
    assert_eq!(visit(&gate, "GET", "/api/overview", &with_cookie).json()["viewer"]["role"], "admin");
    assert_eq!(get(&gate, "/api/overview").json()["viewer"]["role"], "user");
    assert_eq!(get(&gate, &target).status, 403, "the token is used up");
    assert_eq!(get(&gate, "/ui?admin=guess").status, 403);
    assert_eq!(
        visit(&gate, "GET", "/api/overview", "cookie: weir_admin=guess\r\n").json()["viewer"]["role"],
        "user"
    );
    assert_eq!(
        visit(&gate, "POST", "/api/link", &with_cookie).status,
        403,
        "links come from the socket alone"
    );
    let another = command(&gate, "POST", "/api/link").json();
    assert!(another["url"].as_str().is_some_and(|url| url.contains("/ui?admin=")), "{another}");
}

#[test]
fn pages_for_everybody_and_pages_that_are_not_there() {
    let gate = Gate::start(Knobs::default());
    let head = visit(&gate, "HEAD", "/", "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(get(&gate, "/").field("location"), Some("/ui"));
    assert_eq!(get(&gate, "/healthz").body, "ok\n");
    assert_eq!(get(&gate, "/readyz").status, 200);
    let ui = get(&gate, "/ui");
    assert!(ui.body.contains("<title>") && ui.field("content-security-policy").is_some());
    for file in ["style.css", "app.js", "show.js", "talk.js", "build.js", "icon.svg"] {
        assert_eq!(get(&gate, &format!("/ui/{file}")).status, 200, "{file}");
    }
    for (method, target, status) in [
        ("GET", "/ui/../Cargo.toml", 404),
        ("GET", "/api/nothing", 404),
        ("GET", "/api/requests/none", 404),
        ("DELETE", "/api/requests", 405),
        ("GET", "/api/requests?agnet=x", 400),
    ] {
        let page = visit(&gate, method, target, "");
        assert_eq!(page.status, status, "{method} {target}");
        assert_eq!(page.field("content-type"), Some("application/problem+json"), "{target}");
        assert_eq!(page.json()["status"], status, "{target}");
    }
}

#[test]
fn metrics_name_every_counter() {
    let gate = Gate::start(Knobs::default());
    exchange(&gate);
    let page = get(&gate, "/metrics");
    for what in weir::base::stats::Count::ALL {
        assert!(page.body.contains(&format!("# TYPE weir_{} ", what.name())), "{}", what.name());
    }
    assert!(page.body.contains("\nweir_exchanges_ok_total 1\n"), "{}", page.body);
    assert!(page.body.contains("\nweir_own_overhead_seconds_count 1\n"));
    assert!(page.body.contains("weir_ring_records{core=\"0\"} "));
    assert!(page.body.contains("weir_build_info{version=\""));
    assert!(!page.body.contains("claude"), "no text of a request");
    // Every sample line is a name and a number.
    for line in page.body.lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').expect("a value");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}

fn next_event(lines: &mut impl Iterator<Item = String>) -> (String, Value) {
    let id = lines.find_map(|line| line.strip_prefix("id: ").map(str::to_owned)).expect("an event");
    let data =
        lines.next().and_then(|line| line.strip_prefix("data: ").map(str::to_owned)).expect("its data");
    (id, serde_json::from_str(&data).expect("JSON"))
}

#[test]
fn the_tail_is_live_and_goes_on_where_it_was() {
    let gate = Gate::start(Knobs::default());
    let open = |fields: &str| {
        let mut stream = TcpStream::connect(gate.addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET /api/tail HTTP/1.0\r\nhost: {}\r\n{fields}\r\n", gate.addr).unwrap();
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        assert!(lines.any(|line| line == ": live"), "the stream begins");
        lines
    };
    let mut live = open("");
    exchange(&gate);
    let (first, row) = next_event(&mut live);
    assert_eq!(row["outcome"], "ok");
    assert_eq!(row["cursor"].to_string(), first);
    exchange(&gate);
    let (second, _) = next_event(&mut live);
    drop(live);
    exchange(&gate);
    until("the third record", || {
        (get(&gate, "/api/requests").json().as_array().map(Vec::len) == Some(3)).then_some(Value::Null)
    });
    let mut again = open(&format!("last-event-id: {second}\r\n"));
    let (third, _) = next_event(&mut again);
    assert!(third.parse::<i64>().unwrap() > second.parse::<i64>().unwrap());
    // A live tail must not hold up the drain: dropping the gate with it open ends within the test's patience.
    let began = clock::now();
    drop(gate);
    assert!(clock::now().since(began) < Duration::from_secs(4), "the drain waited for a tail");
}

#[test]
fn a_second_gateway_is_told_why_it_cannot_start() {
    use weir::server::{Options, Server};
    let gate = Gate::start(Knobs::default());
    let options = Options {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        data: gate.data.path().to_owned(),
        cores: Some(1),
        ..Options::default()
    };
    assert!(Server::start(options).is_err());
    let socket = gate.data.path().join("control.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(command(&gate, "GET", "/api/overview").json()["viewer"]["role"], "admin");
}

#[test]
fn commands_get_the_same_answers_from_the_gateway_as_from_the_store() {
    use weir::cli::source::Source;
    use weir::cli::{requests, sessions, show, tail, tools, usage};
    use weir::record::store::{Filter, GroupBy, Reader};
    let gate = Gate::start(Knobs::of("tools=1"));
    (0..3).for_each(|_| exchange(&gate));
    until("three records", || {
        let rows = get(&gate, "/api/requests").json();
        (rows.as_array().map(Vec::len) == Some(3)).then_some(rows)
    });
    let socket = Source::open(gate.data.path()).expect("a source");
    assert!(matches!(socket, Source::Socket(_)), "a running gateway answers itself");
    let store = Source::Store(Box::new(Reader::open(gate.data.path()).expect("a store")));
    let all = Filter::default();
    let some = Filter { model: Some("claude-sonnet-4-5".into()), since: Some(1), ..Filter::default() };
    for filter in [&all, &some] {
        let both = |by| [&socket, &store].map(|source| usage::query(source, filter, by).expect("usage"));
        for by in [GroupBy::Total, GroupBy::Model, GroupBy::Hour] {
            let [live, read] = both(by);
            assert_eq!(live, read);
        }
        let rows = requests::query(&socket, filter, 2, None).expect("requests");
        assert_eq!(rows, requests::query(&store, filter, 2, None).unwrap());
        let older = requests::query(&socket, filter, 2, Some(rows[1].cursor)).expect("the next page");
        assert_eq!(older, requests::query(&store, filter, 2, Some(rows[1].cursor)).unwrap());
        assert_eq!(older.len(), 1);
        assert_eq!(
            tail::query(&socket, filter, None, 2).unwrap(),
            tail::query(&store, filter, None, 2).unwrap()
        );
    }
    let [live, read] = [&socket, &store].map(|source| sessions::query(source, &all, 9).expect("sessions"));
    assert_eq!(live, read);
    let [live, read] = [&socket, &store].map(|source| tools::query(source, &all, 9).expect("tools"));
    assert_eq!(live, read);
    let newest = requests::query(&store, &all, 1, None).unwrap().remove(0);
    let [live, read] = [&socket, &store].map(|source| show::query(source, &newest.id).expect("the exchange"));
    assert_eq!(live, read);
    assert!(live.is_some_and(|shown| shown.request_body.as_deref() == Some(ASK.as_bytes())));
    assert_eq!(show::query(&socket, "none").unwrap(), None);

    let last = tail::query(&store, &all, None, 1).unwrap().remove(0).cursor;
    assert_eq!(tail::query(&socket, &all, Some(last), 10).unwrap(), []);
    exchange(&gate);
    let next = until("the next row", || {
        let rows = tail::query(&socket, &all, Some(last), 10).expect("the live tail");
        rows.first().map(|row| json!(row.cursor))
    });
    assert!(next.as_i64() > Some(last));
}
