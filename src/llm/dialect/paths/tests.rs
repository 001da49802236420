//! What the table opens, and what it leaves closed.

use super::*;

#[test]
fn the_table_is_closed() {
    assert_eq!(endpoint("POST", "/v1/messages").map(|r| r.dialect), Some(Dialect::Messages));
    assert_eq!(endpoint("POST", "/chat/completions").map(|r| r.dialect), Some(Dialect::Chat));
    for (method, path) in [
        ("GET", "/v1/messages"),
        ("POST", "/v1/messages/"),
        ("POST", "/v1/messages/../files"),
        ("GET", "/v1/files"),
        ("POST", "/V1/messages"),
        ("POST", ""),
        ("GET", "/v1/responses/.."),
        ("GET", "/v1/responses/%2e%2E"),
        ("GET", "/v1/responses/%252e%252e"),
        ("GET", "/v1/responses/a%2f..%2fb"),
        ("GET", "/v1/responses/%5c..%5cb"),
        ("POST", "/v1beta/models/..%2F..%2Ffiles:generateContent"),
        ("POST", "/v1beta/models/m%2f%2fx:generateContent"),
        ("POST", "/model/%2Fetc%2Fpasswd/invoke"),
        ("GET", "/v1/responses/"),
        ("GET", "/v1/responses/a/b"),
        ("POST", "/model//invoke"),
        ("POST", "/model/%/invoke"),
        ("POST", "/model/a%0ab/invoke"),
        ("POST", "/v1beta/models/:generateContent"),
        ("POST", "/v1beta/models/m:delete"),
    ] {
        assert_eq!(endpoint(method, path), None, "{method} {path}");
    }
}

#[test]
fn a_direct_path_is_read_alone_and_steps_nowhere() {
    assert_eq!(direct("GET", "/v1/files").map(|route| route.endpoint), Some(Endpoint::Direct));
    assert_eq!(direct("GET", "/v1beta/cachedContents").map(|route| route.dialect), Some(Dialect::Gemini));
    for (method, path) in [
        ("POST", "/v1/files"),
        ("HEAD", "/v1/files"),
        ("GET", "/v1/files/../organization/keys"),
        ("GET", "/v1/%2e%2e/admin"),
        ("GET", "/v1//files"),
        ("GET", "/v1/files/"),
        ("GET", "*"),
    ] {
        assert_eq!(direct(method, path), None, "{method} {path}");
    }
}

#[test]
fn models_in_paths() {
    for (path, dialect, model, stream) in [
        ("/v1beta/models/gemini-2.5-flash:streamGenerateContent", Dialect::Gemini, "gemini-2.5-flash", true),
        ("/v1beta/models/gemini-2.5-flash:generateContent", Dialect::Gemini, "gemini-2.5-flash", false),
        ("/v1beta1/publishers/google/models/gemini-3:countTokens", Dialect::Gemini, "gemini-3", false),
        (
            "/v1/projects/p/locations/l/publishers/anthropic/models/claude-3-7-sonnet@20250219:streamRawPredict",
            Dialect::Messages,
            "claude-3-7-sonnet@20250219",
            true,
        ),
        ("/model/us.anthropic.claude-v1%3A0/converse", Dialect::Converse, "us.anthropic.claude-v1:0", false),
        (
            "/model/us.anthropic.claude-v1:0/converse-stream",
            Dialect::Converse,
            "us.anthropic.claude-v1:0",
            true,
        ),
        (
            "/bedrock/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fm/invoke",
            Dialect::Invoke,
            "arn:aws:bedrock:us-east-1:1:inference-profile/m",
            false,
        ),
        ("/openai/deployments/my-gpt/chat/completions", Dialect::Chat, "my-gpt", false),
    ] {
        let route = endpoint("POST", path).unwrap();
        assert_eq!(
            (route.dialect, route.model_in_path.as_deref(), route.stream),
            (dialect, Some(model), stream)
        );
    }
    let counting = "/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict";
    assert_eq!(
        endpoint("POST", counting).map(|r| (r.endpoint, r.model_in_path)),
        Some((Endpoint::CountTokens, None))
    );
}
