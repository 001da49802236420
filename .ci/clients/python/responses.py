"""OpenAI's SDK beyond Chat: Responses, embeddings, moderations, the older completions."""

import json

import openai

from common import KEY, QUESTION, URL, WEATHER, check, raises, recorded, recorded_call, synthetic

MODEL = "gpt-responses-synthetic"
TOOLS = [{"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": False}]

gpt = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0, timeout=20)


def ask(**changes):
    return {"model": MODEL, "input": QUESTION, **changes}


def counts(usage):
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.input_tokens_details.cached_tokens,
    }


@check
def responses_whole():
    raw = gpt.responses.with_raw_response.create(**ask())
    answer = raw.parse()
    assert answer.output_text and answer.status == "completed" and answer.model == MODEL, answer
    assert raw.headers["x-request-id"], "the provider's request id did not pass"
    recorded(raw.headers, model=MODEL, response_id=answer.id, stream=False, **counts(answer.usage))


@check
def responses_streamed():
    raw = gpt.responses.with_raw_response.create(**ask(stream=True), extra_headers=synthetic("events=50"))
    events = list(raw.parse())
    text = [event.delta for event in events if event.type == "response.output_text.delta"]
    end = events[-1]
    assert len(text) == 50 and "".join(text) == end.response.output_text, end
    assert [event.sequence_number for event in events] == list(range(len(events)))
    recorded(raw.headers, model=MODEL, stream=True, **counts(end.response.usage))


@check
def responses_reasoning_is_counted():
    raw = gpt.responses.with_raw_response.create(**ask(stream=True), extra_headers=synthetic("thinking=1"))
    usage = list(raw.parse())[-1].response.usage
    assert usage.output_tokens_details.reasoning_tokens > 0, usage
    recorded(raw.headers, reasoning_tokens=usage.output_tokens_details.reasoning_tokens, **counts(usage))


@check
def responses_tool_loop():
    raw = gpt.responses.with_raw_response.create(**ask(tools=TOOLS))
    answer = raw.parse()
    tool_loop(raw.headers, [item for item in answer.output if item.type == "function_call"])


@check
def responses_tool_loop_streamed():
    raw = gpt.responses.with_raw_response.create(**ask(tools=TOOLS, stream=True))
    events = list(raw.parse())
    pieces = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    calls = [event.item for event in events if event.type == "response.output_item.done"]
    assert "".join(pieces) == calls[0].arguments, calls
    tool_loop(raw.headers, calls)


def tool_loop(headers, calls):
    (call,) = calls
    arguments = json.loads(call.arguments)
    assert call.name == "get_weather" and set(arguments) == {"city", "days"}, call
    recorded_call(recorded(headers, model=MODEL), call.name, arguments)
    turns = [
        {"role": "user", "content": QUESTION},
        {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments},
        {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"},
    ]
    second = gpt.responses.create(**ask(tools=TOOLS, input=turns))
    assert second.output_text, second


@check
def responses_custom_tool():
    tools = [{"type": "custom", "name": "write_poem", "description": "Takes the poem itself"}]
    raw = gpt.responses.with_raw_response.create(**ask(tools=tools, stream=True))
    item = next(event.item for event in raw.parse() if event.type == "response.output_item.done")
    assert item.type == "custom_tool_call" and item.input, item
    record = recorded(raw.headers, model=MODEL)
    assert record is None or [(call["name"], call["arguments"]) for call in record["tool_uses"]] == [
        (item.name, item.input)
    ], record["tool_uses"]


@check
def responses_structured():
    schema = {"type": "json_schema", "name": "weather", "schema": {**WEATHER, "additionalProperties": False}}
    answer = gpt.responses.create(**ask(text={"format": schema}))
    assert set(json.loads(answer.output_text)) == {"city", "days"}, answer.output_text


@check
def responses_input_tokens():
    few = gpt.responses.input_tokens.count(model=MODEL, input="a word")
    many = gpt.responses.input_tokens.count(model=MODEL, input="word " * 1000)
    assert 0 < few.input_tokens < many.input_tokens, (few, many)


@check
def responses_error_inside_a_stream():
    stream = gpt.responses.create(**ask(stream=True), extra_headers=synthetic("events=20,fault=error@9"))
    events = []
    try:
        events.extend(stream)
    except openai.APIError as error:
        assert "server" in str(error), error
        return
    assert events[-1].type == "error" and events[-1].code == "server_error", events[-1]


@check
def responses_rate_limit():
    send = lambda: gpt.responses.create(**ask(), extra_headers=synthetic("fault=429,retry_after=7"))
    error = raises(openai.RateLimitError, send)
    assert error.response.headers["retry-after"] == "7" and error.type == "rate_limit_error", error.body


@check
def embeddings():
    raw = gpt.embeddings.with_raw_response.create(model="embed-synthetic", input=["one", "two"], dimensions=16)
    answer = raw.parse()
    assert [len(data.embedding) for data in answer.data] == [16, 16], answer
    # As floats rather than packed: the same shape.
    plain = gpt.embeddings.create(model="embed-synthetic", input="one", dimensions=16, encoding_format="float")
    assert len(plain.data[0].embedding) == 16, plain
    recorded(raw.headers, model="embed-synthetic", input_tokens=answer.usage.prompt_tokens)


@check
def completions():
    raw = gpt.completions.with_raw_response.create(model="old-synthetic", prompt=QUESTION)
    answer = raw.parse()
    assert answer.choices[0].text and answer.choices[0].finish_reason == "stop", answer
    counts = {"input_tokens": answer.usage.prompt_tokens, "output_tokens": answer.usage.completion_tokens}
    recorded(raw.headers, model="old-synthetic", **counts)


@check
def completions_streamed():
    usage = {"include_usage": True}
    ask_old = {"model": "old-synthetic", "prompt": QUESTION, "stream": True, "stream_options": usage}
    chunks = list(gpt.completions.create(**ask_old, extra_headers=synthetic("events=30")))
    assert sum(bool(chunk.choices and chunk.choices[0].text) for chunk in chunks) == 30, chunks
    assert chunks[-1].usage.completion_tokens > 0, chunks[-1]


@check
def moderations():
    answer = gpt.moderations.create(model="moderation-synthetic", input=["one", "two"])
    assert [result.flagged for result in answer.results] == [False, False], answer
