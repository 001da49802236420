//! What would pass a socket beside the message that was judged.

use super::*;

fn gate_of_many() -> Gate {
    Gate::of_organisation(|origin| {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        vec![snapshot::Provider { origin, ..provider_at(anywhere) }]
    })
}

#[test]
fn what_is_put_into_a_running_response_names_nobody_elses_object() {
    let gate = gate_of_many();
    let (mut client, _) = connect(&gate, "/v1/responses", &[]);
    client.say(CREATE).unwrap();
    hear_response(&mut client);
    let inject = json!({"type": "response.inject", "response_id": "r", "input": [{"type": "message", "role": "user",
        "content": [{"type": "input_file", "file_id": "file_of_somebody_else"}]}]});
    client.say(&inject.to_string()).unwrap();
    let said: Value = serde_json::from_str(&client.hear().unwrap().unwrap()).unwrap();
    assert_eq!((&said["status"], &said["error"]["code"]), (&json!(404), &json!("no_object")));
    client.close(1000).unwrap();
    client.end().unwrap();
    let shown = records(&gate, 3);
    assert_eq!(shown[2].record.outcome, Outcome::Refused);
}

#[test]
fn a_body_within_the_body_is_not_taken() {
    let gate = gate_of_many();
    for key in ["response", "Response", "r\\u0065sponse"] {
        let (mut client, _) = connect(&gate, "/v1/responses", &[]);
        let inner = format!(r#""{key}":{{"model":"secret","previous_response_id":"x"}},"input""#);
        client.say(&CREATE.replace("\"input\"", &inner)).unwrap();
        assert_eq!(client.end().unwrap(), Some(1008), "{key}");
    }
    assert_eq!(gate.provider.truth().len(), 0, "no exchange was ever asked for");
}
