//! Where a client's path leads, vendor by vendor.

use super::*;

/// The whole path at the vendor's address.
fn at(host: &str, site: Site<'_>, path: &str) -> String {
    let vendor = Vendor::of(host, None, site.flags);
    match (vendor.path)(path, &site) {
        Ok(path) => format!("{}{path}", site.prefix),
        Err(why) => why.to_owned(),
    }
}

#[test]
fn a_path_is_led_where_the_vendor_has_it() {
    for (host, prefix, path, expected) in [
        ("api.openai.com", "", "/v1/chat/completions", "/v1/chat/completions"),
        ("api.openai.com", "", "/chat/completions", "/v1/chat/completions"),
        ("api.openai.com", "", "/responses", "/v1/responses"),
        ("api.groq.com", "/openai", "/v1/chat/completions", "/openai/v1/chat/completions"),
        ("api.groq.com", "/openai", "/chat/completions", "/openai/v1/chat/completions"),
        ("open.bigmodel.example", "/api/paas/v4", "/chat/completions", "/api/paas/v4/chat/completions"),
        ("api.perplexity.ai", "", "/v1/chat/completions", "/chat/completions"),
        ("api.deepseek.com", "", "/v1/messages", "/anthropic/v1/messages"),
        ("api.deepseek.com", "/anthropic", "/v1/messages", "/anthropic/v1/messages"),
        ("generativelanguage.googleapis.com", "", "/v1/chat/completions", "/v1beta/openai/chat/completions"),
        (
            "generativelanguage.googleapis.com",
            "",
            "/v1beta/models/g:generateContent",
            "/v1beta/models/g:generateContent",
        ),
        (
            "generativelanguage.googleapis.com",
            "/v1beta/openai",
            "/v1/chat/completions",
            "/v1beta/openai/chat/completions",
        ),
        ("mine.openai.azure.com", "", "/v1/chat/completions", "/openai/v1/chat/completions"),
        ("mine.openai.azure.com", "/openai", "/v1/responses", "/openai/v1/responses"),
        (
            "mine.openai.azure.com",
            "",
            "/openai/deployments/d/chat/completions",
            "/openai/deployments/d/chat/completions",
        ),
        (
            "gateway.ai.cloudflare.com",
            "/v1/a/g/compat",
            "/v1/chat/completions",
            "/v1/a/g/compat/chat/completions",
        ),
        (
            "bedrock-runtime.us-east-1.amazonaws.com",
            "",
            "/bedrock/model/a%3A0/converse",
            "/model/a%3A0/converse",
        ),
        ("bedrock-runtime.us-east-1.amazonaws.com", "", "/model/a:0/converse", "/model/a:0/converse"),
        (
            "bedrock-runtime.us-east-1.amazonaws.com",
            "",
            "/v1/chat/completions",
            "/openai/v1/chat/completions",
        ),
        ("us-central1-aiplatform.googleapis.com", "", "/v1/models/x", "/v1/models/x"),
        ("notbedrock.example", "", "/v1/chat/completions", "/v1/chat/completions"),
        ("amazonaws.com.evil.example", "", "/v1/chat/completions", "/v1/chat/completions"),
    ] {
        assert_eq!(at(host, Site { prefix, ..Site::default() }, path), expected, "{host}{prefix} {path}");
    }
}

#[test]
fn vertex_paths_get_the_providers_project_and_region() {
    let flags = [Flag::GoogleGenerateContent];
    let site = Site { region: Some("europe-west1"), project: Some("p-1"), flags: &flags, ..Site::default() };
    let compat = [Flag::GoogleGenerateContent, Flag::GeminiCliVertex];
    let auto = format!(
        "/v1/projects/{}/locations/{}/publishers/google/models/g:generateContent",
        "_aperture_auto_vertex_project_id_", "_aperture_auto_vertex_region_"
    );
    let own = "/v1/projects/p-1/locations/europe-west1/publishers/google/models/g:generateContent";
    assert_eq!(at("x", site, &auto), own);
    assert_eq!(
        at("x", Site { project: None, ..site }, &auto),
        "the provider has no \"project\", and its key file names none"
    );
    let theirs = "/v1/projects/other/locations/us/publishers/google/models/g:generateContent";
    assert_eq!(at("x", site, theirs), theirs);
    let express = "/v1beta1/publishers/google/models/g:streamGenerateContent";
    assert_eq!(at("x", site, express), express);
    assert_eq!(
        at("x", Site { flags: &compat, ..site }, express),
        "/v1beta1/projects/p-1/locations/europe-west1/publishers/google/models/g:streamGenerateContent"
    );
    assert_eq!(
        at("x", site, "/v1/chat/completions"),
        "/v1/projects/p-1/locations/europe-west1/endpoints/openapi/chat/completions"
    );
}

#[test]
fn a_name_becomes_one_segment() {
    assert_eq!(segment("claude@1"), "claude@1");
    assert_eq!(segment("arn:aws:x:1:profile/m"), "arn:aws:x:1:profile%2Fm");
    assert_eq!(segment("../é ?"), "..%2F%C3%A9%20%3F");
}

#[test]
fn a_vendor_is_known_by_its_host_and_not_by_one_that_only_looks_like_it() {
    let of = |host: &str| Vendor::of(host, None, &[]).id;
    assert_eq!(of("us-central1-aiplatform.googleapis.com"), "vertex");
    assert_eq!((of("api.x.ai"), of("x.ai"), of("foox.ai")), ("xai", "xai", "compatible"));
    assert_eq!((of("mine.openai.azure.com"), of("api.openai.com.evil.example")), ("azure", "compatible"));
    assert_eq!(Vendor::of("10.0.0.1", Some(Authorization::Sigv4), &[]).id, "bedrock");
    assert_eq!(Vendor::of("10.0.0.1", None, &[Flag::OpenaiChat, Flag::GoogleRawPredict]).id, "vertex");
}
