"""WebSockets: OpenAI's SDK in Responses mode and Realtime. Its library offers compression, as most do."""

import openai

from common import KEY, URL, check

gpt = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0, timeout=20)
MODEL = "gpt-synthetic"


def until(connection, kind):
    events = []
    for event in connection:
        events.append(event)
        assert event.type != "error", event
        if event.type == kind:
            return events
    raise AssertionError(f"the socket ended before {kind}")


@check
def responses_over_a_socket():
    with gpt.responses.connect() as connection:
        before = None
        for turn in range(3):
            more = {"previous_response_id": before} if before else {}
            connection.response.create(model=MODEL, input=f"number {turn}", **more)
            last = until(connection, "response.completed")[-1].response
            assert last.id != before and last.usage.output_tokens > 0, last
            before = last.id


@check
def a_socket_goes_on_after_a_refusal():
    with gpt.responses.connect() as connection:
        connection.response.create(model=MODEL, input="x", previous_response_id="resp_of_somebody_else")
        refused = next(iter(connection))
        assert refused.type == "error" and "not yours" in str(refused), refused
        connection.response.create(model=MODEL, input="y")
        until(connection, "response.completed")


@check
def realtime_over_a_socket():
    with gpt.realtime.connect(model=MODEL) as connection:
        connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        connection.response.create()
        done = until(connection, "response.done")[-1].response
        assert done.usage.total_tokens == 16, done
