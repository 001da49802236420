"""Ollama's own client: JSON lines."""

import ollama

from common import QUESTION, URL, WEATHER, check, raises

MODEL = "llama-synthetic"
TURNS = [{"role": "user", "content": QUESTION}]
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "", "parameters": WEATHER}}]

client = ollama.Client(host=URL, timeout=20)


def asking(knobs):
    return ollama.Client(host=URL, timeout=20, headers={"x-synthetic": knobs})


@check
def ollama_chat():
    answer = client.chat(model=MODEL, messages=TURNS)
    assert answer.message.content and answer.done and answer.eval_count > 0, answer


@check
def ollama_chat_streamed():
    parts = list(asking("events=50").chat(model=MODEL, messages=TURNS, stream=True))
    assert sum(bool(part.message.content) for part in parts) == 50, len(parts)
    assert parts[-1].done and parts[-1].prompt_eval_count > 0, parts[-1]


@check
def ollama_tool_loop():
    first = client.chat(model=MODEL, messages=TURNS, tools=TOOLS).message
    (call,) = first.tool_calls
    assert call.function.name == "get_weather" and set(call.function.arguments) == {"city", "days"}, first
    turns = [*TURNS, first, {"role": "tool", "content": "sunny", "tool_name": "get_weather"}]
    second = client.chat(model=MODEL, messages=turns, tools=TOOLS).message
    assert second.content and not second.tool_calls, second


@check
def ollama_generate():
    whole = client.generate(model=MODEL, prompt=QUESTION)
    assert whole.response and whole.done_reason == "stop", whole
    parts = list(asking("events=30").generate(model=MODEL, prompt=QUESTION, stream=True))
    assert sum(bool(part.response) for part in parts) == 30, len(parts)


@check
def ollama_embed():
    answer = client.embed(model=MODEL, input=["one", "two"])
    assert [len(vector) for vector in answer.embeddings] == [8, 8], answer


@check
def ollama_models():
    assert [model.model for model in client.list().models], "no model"


@check
def ollama_error():
    error = raises(ollama.ResponseError, lambda: asking("fault=429").chat(model=MODEL, messages=TURNS))
    assert error.status_code == 429 and "rate limit" in error.error, error
