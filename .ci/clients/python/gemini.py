"""google-genai: Gemini through a gateway, by `http_options.base_url`."""

import json

from google import genai
from google.genai import errors, types

from common import KEY, QUESTION, URL, WEATHER, check, raises, recorded, recorded_call

MODEL = "gemini-synthetic"
TOOL = types.Tool(
    function_declarations=[{"name": "get_weather", "description": "Of a city", "parameters_json_schema": WEATHER}]
)

client = genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=URL, timeout=20_000))


def config(knobs="", **changes):
    options = types.HttpOptions(headers={"x-synthetic": knobs}) if knobs else None
    # The SDK would call tools by itself.
    no_calls = types.AutomaticFunctionCallingConfig(disable=True)
    return types.GenerateContentConfig(http_options=options, automatic_function_calling=no_calls, **changes)


def counts(usage):
    return {
        "input_tokens": usage.prompt_token_count,
        "output_tokens": usage.candidates_token_count + (usage.thoughts_token_count or 0),
    }


@check
def gemini_whole():
    answer = client.models.generate_content(model=MODEL, contents=QUESTION, config=config())
    assert answer.text and answer.candidates[0].finish_reason == types.FinishReason.STOP, answer
    recorded(answer.sdk_http_response.headers, model=MODEL, stop_reason="STOP", **counts(answer.usage_metadata))


@check
def gemini_streamed():
    stream = client.models.generate_content_stream(model=MODEL, contents=QUESTION, config=config("events=50"))
    chunks = list(stream)
    text = [chunk.text for chunk in chunks if chunk.text]
    assert len(text) == 50, len(text)
    headers = chunks[0].sdk_http_response.headers
    recorded(headers, model=MODEL, stream=True, **counts(chunks[-1].usage_metadata))


@check
def gemini_thoughts_are_output():
    answer = client.models.generate_content(model=MODEL, contents=QUESTION, config=config("thinking=1"))
    usage = answer.usage_metadata
    assert usage.thoughts_token_count > 0, usage
    headers = answer.sdk_http_response.headers
    recorded(headers, reasoning_tokens=usage.thoughts_token_count, **counts(usage))


@check
def gemini_tool_loop():
    answer = client.models.generate_content(model=MODEL, contents=QUESTION, config=config(tools=[TOOL]))
    tool_loop(answer.sdk_http_response.headers, answer.candidates[0].content)


@check
def gemini_tool_loop_streamed():
    stream = client.models.generate_content_stream(model=MODEL, contents=QUESTION, config=config(tools=[TOOL]))
    chunks = list(stream)
    tool_loop(chunks[0].sdk_http_response.headers, chunks[-1].candidates[0].content)


def tool_loop(headers, content):
    (call,) = [part.function_call for part in content.parts if part.function_call]
    assert call.name == "get_weather" and set(call.args) == {"city", "days"}, call
    recorded_call(recorded(headers, model=MODEL), call.name, call.args)
    result = types.Part.from_function_response(name=call.name, response={"result": "sunny"})
    turns = [
        types.Content(role="user", parts=[types.Part(text=QUESTION)]),
        content,
        types.Content(role="user", parts=[result]),
    ]
    second = client.models.generate_content(model=MODEL, contents=turns, config=config(tools=[TOOL]))
    assert second.text, second


@check
def gemini_structured():
    wanted = config(response_mime_type="application/json", response_json_schema=WEATHER)
    answer = client.models.generate_content(model=MODEL, contents=QUESTION, config=wanted)
    assert set(json.loads(answer.text)) == {"city", "days"}, answer.text


@check
def gemini_count_tokens():
    few = client.models.count_tokens(model=MODEL, contents="a word")
    many = client.models.count_tokens(model=MODEL, contents="word " * 1000)
    assert 0 < few.total_tokens < many.total_tokens, (few, many)


@check
def gemini_embeddings():
    answer = client.models.embed_content(model="embed-gemini-synthetic", contents="one")
    assert [len(embedding.values) for embedding in answer.embeddings] == [8], answer


@check
def gemini_rate_limit():
    send = lambda: client.models.generate_content(model=MODEL, contents=QUESTION, config=config("fault=429"))
    error = raises(errors.ClientError, send)
    assert error.code == 429 and error.status == "RESOURCE_EXHAUSTED", error


@check
def gemini_error_before_a_stream():
    send = lambda: list(
        client.models.generate_content_stream(model=MODEL, contents=QUESTION, config=config("fault=500"))
    )
    error = raises(errors.ServerError, send)
    assert error.code == 500 and error.status == "INTERNAL", error
