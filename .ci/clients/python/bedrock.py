"""boto3's Bedrock runtime: binary event streams, and requests signed for a host that is not the provider's.

The client signs with keys of its own, which mean nothing; the gateway puts its own credential in their place. (Its
bearer keys are not tried here: over plain HTTP boto3 refuses to send one.)
"""

import json

import boto3
import botocore.exceptions
from botocore.config import Config

from common import QUESTION, URL, WEATHER, check, raises, recorded, recorded_call

# An id with what has to be encoded in a path.
MODEL = "us.anthropic.claude-synthetic-v1:0"
TURNS = [{"role": "user", "content": [{"text": QUESTION}]}]
TOOLS = {"tools": [{"toolSpec": {"name": "get_weather", "inputSchema": {"json": WEATHER}}}]}


def client(**keys):
    config = Config(retries={"total_max_attempts": 1}, read_timeout=20)
    made = boto3.client("bedrock-runtime", region_name="eu-west-1", endpoint_url=URL, config=config, **keys)
    made.meta.events.register("before-sign.bedrock-runtime.*", knobs_of)
    return made


def knobs_of(request, **_):
    if KNOBS[0]:
        request.headers["x-synthetic"] = KNOBS[0]


KNOBS = [""]
signing = client(aws_access_key_id="AKIDCLIENT", aws_secret_access_key="client-secret", aws_session_token="client-token")


def with_knobs(knobs, call):
    KNOBS[0] = knobs
    try:
        return call()
    finally:
        KNOBS[0] = ""


def headers(answer):
    return answer["ResponseMetadata"]["HTTPHeaders"]


def written(answer, **expected):
    """Converse names no model in its answers: what was asked for is recorded."""
    record = recorded(headers(answer), **expected)
    assert record is None or record["ask"]["model"] == MODEL, record["ask"]
    return record


def counts(usage):
    read, write = usage["cacheReadInputTokens"], usage["cacheWriteInputTokens"]
    return {
        "input_tokens": usage["inputTokens"] + read + write,
        "output_tokens": usage["outputTokens"],
        "cache_read_tokens": read,
    }


@check
def converse_whole():
    answer = signing.converse(modelId=MODEL, messages=TURNS)
    assert answer["output"]["message"]["content"][0]["text"] and answer["stopReason"] == "end_turn", answer
    written(answer, stop_reason="end_turn", **counts(answer["usage"]))


@check
def converse_streamed():
    answer = with_knobs("events=50", lambda: signing.converse_stream(modelId=MODEL, messages=TURNS))
    events = list(answer["stream"])
    text = [event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event]
    assert len(text) == 50 and list(events[-1]) == ["metadata"], events[-1]
    written(answer, stream=True, **counts(events[-1]["metadata"]["usage"]))


@check
def converse_tool_loop():
    answer = signing.converse(modelId=MODEL, messages=TURNS, toolConfig=TOOLS)
    message = answer["output"]["message"]
    (call,) = [block["toolUse"] for block in message["content"] if "toolUse" in block]
    assert answer["stopReason"] == "tool_use" and set(call["input"]) == {"city", "days"}, answer
    recorded_call(written(answer), call["name"], call["input"])
    result = {"toolResult": {"toolUseId": call["toolUseId"], "content": [{"text": "sunny"}]}}
    turns = [*TURNS, message, {"role": "user", "content": [result]}]
    second = signing.converse(modelId=MODEL, messages=turns, toolConfig=TOOLS)
    assert second["stopReason"] == "end_turn" and second["usage"]["cacheReadInputTokens"] > 0, second


@check
def converse_tool_streamed():
    answer = signing.converse_stream(modelId=MODEL, messages=TURNS, toolConfig=TOOLS)
    events = list(answer["stream"])
    name = next(e["contentBlockStart"]["start"]["toolUse"]["name"] for e in events if "contentBlockStart" in e)
    deltas = [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]
    arguments = json.loads("".join(delta["toolUse"]["input"] for delta in deltas if "toolUse" in delta))
    assert name == "get_weather" and set(arguments) == {"city", "days"}, events
    recorded_call(written(answer), name, arguments)


def body(**changes):
    turns = [{"role": "user", "content": QUESTION}]
    return json.dumps({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 99, "messages": turns, **changes})


@check
def invoke_whole():
    answer = signing.invoke_model(modelId=MODEL, body=body())
    message = json.loads(answer["body"].read())
    usage = message["usage"]
    assert message["content"][0]["text"] and headers(answer)["x-amzn-bedrock-output-token-count"], message
    counted = {"input_tokens": usage["input_tokens"], "output_tokens": usage["output_tokens"]}
    written(answer, stop_reason="end_turn", **counted)


@check
def invoke_streamed():
    send = lambda: signing.invoke_model_with_response_stream(modelId=MODEL, body=body())
    answer = with_knobs("events=50", send)
    events = [json.loads(event["chunk"]["bytes"]) for event in answer["body"]]
    deltas = [event for event in events if event["type"] == "content_block_delta"]
    metrics = events[-1]["amazon-bedrock-invocationMetrics"]
    assert len(deltas) == 50 and events[-1]["type"] == "message_stop", events[-1]
    counted = {"input_tokens": metrics["inputTokenCount"], "output_tokens": metrics["outputTokenCount"]}
    written(answer, stream=True, stop_reason="end_turn", **counted)


@check
def bedrock_throttling():
    send = lambda: with_knobs("fault=429", lambda: signing.converse(modelId=MODEL, messages=TURNS))
    error = raises(botocore.exceptions.ClientError, send)
    assert error.response["Error"]["Code"] == "ThrottlingException", error.response


@check
def bedrock_exception_inside_a_stream():
    send = lambda: signing.converse_stream(modelId=MODEL, messages=TURNS)
    answer = with_knobs("events=20,fault=error@9", send)
    error = raises(botocore.exceptions.EventStreamError, lambda: list(answer["stream"]))
    assert "modelStreamErrorException" in str(error), error
