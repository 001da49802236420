"""google-genai and Anthropic's SDK on Vertex: the client brings a Google token of its own, the gateway shows the provider
another, which it has from its own key file. Both are traded at the synthetic provider, which verifies the signatures."""

import json
import os

import anthropic
from google import genai
from google.auth.transport import requests as google_requests
from google.genai import types
from google.oauth2 import service_account

from common import DATA, QUESTION, URL, check, recorded

MODEL = "gemini-synthetic"
KEY_FILE = os.path.join(os.path.dirname(DATA), "google-key.json") if DATA else None


def credentials():
    scopes = ["https://www.googleapis.com/auth/cloud-platform"]
    return service_account.Credentials.from_service_account_file(KEY_FILE, scopes=scopes)


if KEY_FILE and os.path.exists(KEY_FILE):
    client = genai.Client(
        vertexai=True,
        project="synthetic",
        location="us-central1",
        credentials=credentials(),
        http_options=types.HttpOptions(base_url=URL, timeout=20_000),
    )

    @check
    def vertex_trades_an_assertion():
        own = credentials()
        own.refresh(google_requests.Request())
        assert own.token.startswith("ya29.synthetic"), own.token

    @check
    def vertex_whole():
        answer = client.models.generate_content(model=MODEL, contents=QUESTION)
        assert answer.text and answer.candidates[0].finish_reason == types.FinishReason.STOP, answer
        usage = answer.usage_metadata
        record = recorded(
            answer.sdk_http_response.headers,
            model=MODEL,
            provider="vertex",
            input_tokens=usage.prompt_token_count,
            output_tokens=usage.candidates_token_count,
        )
        shown = json.dumps(record)
        assert "ya29" not in shown and "PRIVATE KEY" not in shown, "a credential in the record"

    @check
    def vertex_streamed():
        chunks = list(client.models.generate_content_stream(model=MODEL, contents=QUESTION))
        assert len([chunk.text for chunk in chunks if chunk.text]) > 1
        usage = chunks[-1].usage_metadata
        recorded(chunks[0].sdk_http_response.headers, stream=True, output_tokens=usage.candidates_token_count)

    @check
    def vertex_count_tokens():
        assert client.models.count_tokens(model=MODEL, contents="a word").total_tokens > 0

    @check
    def claude_on_vertex():
        own = credentials()
        own.refresh(google_requests.Request())
        claude = anthropic.AnthropicVertex(
            base_url=f"{URL}/v1", project_id="synthetic", region="us-east5", access_token=own.token, max_retries=0
        )
        hello = [{"role": "user", "content": QUESTION}]
        raw = claude.messages.with_raw_response.create(model="claude-synthetic", max_tokens=64, messages=hello)
        answer = raw.parse()
        assert answer.content[0].text, answer
        recorded(raw.headers, provider="vertex", output_tokens=answer.usage.output_tokens)
