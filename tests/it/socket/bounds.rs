//! Bounds on time and number that hold for sockets too.

use super::*;

fn gate_with(
    total: Duration,
    script: impl Fn(&Head, Peer) -> io::Result<()> + Send + Sync + 'static,
) -> Gate {
    let provider = SocketProvider::start("", script);
    let limits = Limits { total: Some(total), ..Limits::default() };
    let gate = Gate::with(Knobs::default(), limits, |options| {
        let providers = vec![Arc::new(provider_at(provider.addr))];
        Options { snapshot: Arc::new(Snapshot { providers, ..(*options.snapshot).clone() }), ..options }
    });
    // Its thread goes on for as long as the test.
    std::mem::forget(provider);
    gate
}

#[test]
fn an_exchange_on_a_socket_ends_when_its_whole_time_is_over_and_the_socket_may_outlast_it() {
    let total = Duration::from_millis(1500);
    let gate = gate_with(total, |head, mut peer| match head.target().contains("endless") {
        false => speak(head.target(), &mut peer),
        true => {
            peer.hear()?;
            // Never a pause long enough for any other limit.
            loop {
                peer.say(r#"{"type":"response.output_text.delta","delta":"x"}"#)?;
                clock::pause(Duration::from_millis(5));
            }
        }
    });
    let (mut quick, _) = connect(&gate, "/v1/responses", &[]);
    let until = clock::now().plus(total * 2);
    let mut turns = 0;
    while clock::now() < until {
        // The synthetic provider makes its ids of what it is asked.
        quick.say(&CREATE.replace("hello", &turns.to_string())).unwrap();
        hear_response(&mut quick);
        turns += 1;
    }
    quick.close(1000).unwrap();
    assert_eq!(quick.end().unwrap(), Some(1000), "{turns} short exchanges outlast the bound of one");
    let (mut endless, _) = connect(&gate, "/v1/responses?endless", &[]);
    endless.say(CREATE).unwrap();
    assert_eq!(endless.end().unwrap(), Some(1008));
    let shown = records(&gate, turns + 3);
    let late: Vec<_> =
        shown.iter().filter_map(|shown| shown.record.fault.as_ref()).map(|fault| &*fault.kind).collect();
    assert_eq!(late, ["total_timeout"; 2], "the exchange and its upgrade");
}

#[test]
fn a_provider_that_does_not_agree_to_a_socket_has_the_whole_time_and_no_more() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let limits = Limits { total: Some(Duration::from_millis(300)), ..Limits::default() };
    let addr = silent.local_addr().unwrap();
    let gate = Gate::with(Knobs::default(), limits, |options| {
        let providers = vec![Arc::new(provider_at(addr))];
        Options { snapshot: Arc::new(Snapshot { providers, ..(*options.snapshot).clone() }), ..options }
    });
    let answer = Peer::connect(gate.addr, "/v1/responses", &[]).expect("the gateway accepts");
    assert!(answer.is_err(), "no upgrade");
    let shown = records(&gate, 1);
    let fault = shown[0].record.fault.as_ref().expect("a fault");
    assert_eq!((&*fault.kind, shown[0].record.status), ("total_timeout", 504));
}
