"""The Python SDKs of the vendors against a gateway in front of the synthetic provider.

WEIR_URL is the gateway's base URL. The header `x-synthetic` tells the provider how to behave; the gateway forwards it
like any other. What a check asserts is what an agent's author relies on, in the SDK's own terms; and, with WEIR and
WEIR_DATA, that the gateway's record of the exchange says the same. This file has Anthropic and OpenAI Chat, those
beside it the rest.
"""

import asyncio
import json
import os
import sys
import time
import traceback

import anthropic
import openai

import bedrock  # noqa: F401
import gemini  # noqa: F401
import live  # noqa: F401
import local  # noqa: F401
import responses  # noqa: F401
import sockets  # noqa: F401
import vertex  # noqa: F401
from common import CHECKS, KEY, QUESTION, URL, WEATHER, WEIR, check, raises, recorded, synthetic

CLAUDE = os.environ.get("WEIR_MESSAGES_MODEL", "claude-synthetic")
GPT = os.environ.get("WEIR_CHAT_MODEL", "gpt-synthetic")

# No retries: a check is to see the first answer, not a later one.
claude = anthropic.Anthropic(base_url=URL, api_key=KEY, max_retries=0, timeout=20)
gpt = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0, timeout=20)

HELLO = [{"role": "user", "content": QUESTION}]
CLAUDE_TOOLS = [{"name": "get_weather", "description": "The weather of a city", "input_schema": WEATHER}]
GPT_TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}]

def is_a_cut(error):
    """The HTTP library under the SDK said so: to one SDK that is the error itself, to the other its cause."""
    modules = [type(e).__module__.split(".")[0] for e in (error, error.__cause__)]
    assert any(module.startswith("httpx") for module in modules), repr(error)


def ask_claude(**changes):
    return {"model": CLAUDE, "max_tokens": 500, "messages": HELLO, **changes}


def ask_gpt(**changes):
    return {"model": GPT, "messages": HELLO, **changes}


# Anthropic Messages


@check
def messages_whole():
    message = claude.messages.create(**ask_claude())
    assert message.content[0].text and message.model == CLAUDE, message
    assert message.stop_reason == "end_turn", message.stop_reason
    assert message.usage.input_tokens > 0 and message.usage.output_tokens > 0, message.usage
    assert message._request_id, "the provider's request id did not pass"


@check
def messages_stand_in_the_store():
    raw = claude.messages.with_raw_response.create(**ask_claude(tools=CLAUDE_TOOLS))
    message = raw.parse()
    usage = message.usage
    read, write = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    recorded(
        raw.headers,
        model=CLAUDE,
        input_tokens=usage.input_tokens + read + write,
        output_tokens=usage.output_tokens,
        stop_reason=message.stop_reason,
    )


@check
def messages_streamed():
    with claude.messages.stream(**ask_claude(), extra_headers=synthetic("events=50")) as stream:
        pieces = list(stream.text_stream)
        message = stream.get_final_message()
    assert len(pieces) == 50, len(pieces)
    assert "".join(pieces) == message.content[0].text
    assert message.usage.output_tokens > 0 and message.stop_reason == "end_turn", message


@check
def messages_events_in_order():
    kinds = [event.type for event in claude.messages.create(**ask_claude(), stream=True)]
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop", kinds
    assert kinds.index("content_block_start") < kinds.index("content_block_delta"), kinds


@check
def messages_paced_stream_comes_piece_by_piece():
    arrivals = []
    knobs = synthetic("events=10,delay_ms=50")
    with claude.messages.stream(**ask_claude(), extra_headers=knobs) as stream:
        for _ in stream.text_stream:
            arrivals.append(time.monotonic())
    spread = arrivals[-1] - arrivals[0]
    assert spread > 0.3, f"10 events at 50 ms came within {spread * 1000:.0f} ms: something held them"


@check
def messages_thinking_keeps_its_signature():
    knobs = synthetic("thinking=1")
    with claude.messages.stream(**ask_claude(), extra_headers=knobs) as stream:
        message = stream.get_final_message()
    assert [block.type for block in message.content] == ["thinking", "text"], message.content
    assert len(message.content[0].signature) > 100, message.content[0]


@check
def messages_tool_loop():
    claude_tool_loop(lambda **ask: claude.messages.create(**ask))


@check
def messages_tool_loop_streamed():
    def streamed(**ask):
        with claude.messages.stream(**ask) as stream:
            return stream.get_final_message()

    claude_tool_loop(streamed)


def claude_tool_loop(send):
    first = send(**ask_claude(tools=CLAUDE_TOOLS))
    call = next(block for block in first.content if block.type == "tool_use")
    assert first.stop_reason == "tool_use" and call.name == "get_weather", first
    assert isinstance(call.input["city"], str) and isinstance(call.input["days"], int), call.input
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    turns = [*HELLO, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    second = send(**ask_claude(tools=CLAUDE_TOOLS, messages=turns))
    assert second.stop_reason == "end_turn" and second.content[0].text, second
    assert second.usage.cache_read_input_tokens > 0, second.usage


@check
def messages_count_tokens():
    few = claude.messages.count_tokens(model=CLAUDE, messages=HELLO)
    many = claude.messages.count_tokens(model=CLAUDE, messages=HELLO, system="word " * 1000)
    assert 0 < few.input_tokens < many.input_tokens, (few, many)


@check
def messages_request_of_a_megabyte():
    long = [{"role": "user", "content": "0123456789abcdef" * 65_536}]
    message = claude.messages.create(**ask_claude(messages=long))
    assert message.usage.input_tokens > 200_000, message.usage


@check
def messages_interim_answer_is_no_answer():
    message = claude.messages.create(**ask_claude(), extra_headers=synthetic("interim=1"))
    assert message.content[0].text, message


@check
def messages_rate_limit():
    send = lambda: claude.messages.create(**ask_claude(), extra_headers=synthetic("fault=429,retry_after=7"))
    error = raises(anthropic.RateLimitError, send)
    assert error.response.headers["retry-after"] == "7", error.response.headers
    assert error.body["error"]["type"] == "rate_limit_error", error.body


@check
def messages_overloaded():
    send = lambda: claude.messages.create(**ask_claude(), stream=True, extra_headers=synthetic("fault=529"))
    error = raises(anthropic.APIStatusError, send)
    assert error.status_code == 529 and error.body["error"]["type"] == "overloaded_error", error.body


@check
def messages_error_inside_a_stream():
    knobs = synthetic("events=20,fault=error@9")
    stream = claude.messages.create(**ask_claude(), stream=True, extra_headers=knobs)
    error = raises(anthropic.APIStatusError, lambda: list(stream))
    assert "overloaded_error" in str(error.body), error.body


@check
def messages_truncation_is_not_an_end():
    knobs = synthetic("events=20,fault=truncate@9")
    stream = claude.messages.create(**ask_claude(), stream=True, extra_headers=knobs)
    is_a_cut(raises(Exception, lambda: list(stream)))


@check
def messages_many_at_once():
    async def one(client, n):
        ask = ask_claude(messages=[{"role": "user", "content": f"number {n}"}])
        async with client.messages.stream(**ask, extra_headers=synthetic("events=30,delay_ms=5")) as stream:
            return (await stream.get_final_message()).content[0].text

    async def all_of_them():
        async with anthropic.AsyncAnthropic(base_url=URL, api_key=KEY, max_retries=0, timeout=20) as client:
            return await asyncio.gather(*(one(client, n) for n in range(24)))

    texts = asyncio.run(all_of_them())
    assert len(set(texts)) == 24, "two requests got one answer"


# OpenAI Chat Completions


@check
def chat_whole():
    answer = gpt.chat.completions.create(**ask_gpt())
    assert answer.choices[0].message.content and answer.choices[0].finish_reason == "stop", answer
    assert answer.model == GPT and answer.usage.total_tokens > 0, answer
    assert answer._request_id, "the provider's request id did not pass"


@check
def chat_stands_in_the_store():
    raw = gpt.chat.completions.with_raw_response.create(**ask_gpt())
    answer = raw.parse()
    counts = {"input_tokens": answer.usage.prompt_tokens, "output_tokens": answer.usage.completion_tokens}
    recorded(raw.headers, model=GPT, stop_reason=answer.choices[0].finish_reason, **counts)


@check
def chat_streamed():
    chunks = list(gpt.chat.completions.create(**ask_gpt(), stream=True, extra_headers=synthetic("events=50")))
    text = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
    assert len(text) == 50, len(text)
    assert chunks[-1].choices[0].finish_reason == "stop", chunks[-1]
    assert all(chunk.usage is None for chunk in chunks), "usage came without being asked for"


@check
def chat_streamed_with_usage():
    ask = ask_gpt(stream_options={"include_usage": True})
    chunks = list(gpt.chat.completions.create(**ask, stream=True))
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0, chunks[-1]


@check
def chat_tool_loop():
    first = gpt.chat.completions.create(**ask_gpt(tools=GPT_TOOLS)).choices[0]
    assert first.finish_reason == "tool_calls", first
    call = first.message.tool_calls[0]
    gpt_second_turn(call.id, call.function.name, call.function.arguments)


@check
def chat_tool_loop_streamed():
    call_id = name = None
    arguments = ""
    for chunk in gpt.chat.completions.create(**ask_gpt(tools=GPT_TOOLS), stream=True):
        for part in chunk.choices[0].delta.tool_calls or []:
            call_id, name = part.id or call_id, part.function.name or name
            arguments += part.function.arguments or ""
    gpt_second_turn(call_id, name, arguments)


def gpt_second_turn(call_id, name, arguments):
    assert name == "get_weather" and set(json.loads(arguments)) == {"city", "days"}, (name, arguments)
    call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    turns = [
        *HELLO,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call_id, "content": "sunny"},
    ]
    second = gpt.chat.completions.create(**ask_gpt(tools=GPT_TOOLS, messages=turns)).choices[0]
    assert second.finish_reason == "stop" and second.message.content, second


@check
def chat_rate_limit():
    send = lambda: gpt.chat.completions.create(**ask_gpt(), extra_headers=synthetic("fault=429,retry_after=7"))
    error = raises(openai.RateLimitError, send)
    assert error.response.headers["retry-after"] == "7" and error.type == "rate_limit_error", error.body


@check
def chat_server_error():
    send = lambda: gpt.chat.completions.create(**ask_gpt(), stream=True, extra_headers=synthetic("fault=500"))
    error = raises(openai.InternalServerError, send)
    assert error.status_code == 500 and error.type == "api_error", error.body


@check
def chat_truncation_is_not_an_end():
    knobs = synthetic("events=20,fault=truncate@9")
    stream = gpt.chat.completions.create(**ask_gpt(), stream=True, extra_headers=knobs)
    is_a_cut(raises(Exception, lambda: list(stream)))


@check
def chat_many_at_once():
    async def one(client, n):
        ask = ask_gpt(messages=[{"role": "user", "content": f"number {n}"}])
        answer = await client.chat.completions.create(**ask)
        return answer.choices[0].message.content

    async def all_of_them():
        async with openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0, timeout=20) as client:
            return await asyncio.gather(*(one(client, n) for n in range(24)))

    texts = asyncio.run(all_of_them())
    assert len(set(texts)) == 24, "two requests got one answer"


@check
def models_are_listed():
    assert [model.id for model in gpt.models.list()], "no model"
    assert [model.id for model in claude.models.list()], "no model"


def main():
    failed = 0
    if not WEIR:
        print("WEIR IS NOT SET: what the gateway wrote down is not looked at", flush=True)
    for run in CHECKS:
        try:
            run()
            print(f"pass  {run.__name__}", flush=True)
        except Exception:
            failed += 1
            print(f"FAIL  {run.__name__}\n{traceback.format_exc(limit=-3)}", flush=True)
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
