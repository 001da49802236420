"""google-genai in Gemini Live. The SDK opens sockets over TLS only, so it comes by the gateway's TLS listener, whose
certificate it is told to trust."""

import asyncio
import os

from google import genai
from google.genai import types

from common import KEY, check

TLS_URL = os.environ.get("WEIR_TLS_URL")
MODEL = "gemini-synthetic"


async def turns(count):
    os.environ["SSL_CERT_FILE"] = os.environ["WEIR_CA"]
    try:
        client = genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=TLS_URL))
    finally:
        del os.environ["SSL_CERT_FILE"]
    heard = []
    async with client.aio.live.connect(model=MODEL, config={"response_modalities": ["TEXT"]}) as session:
        for _ in range(count):
            said = types.Content(role="user", parts=[types.Part(text="hello")])
            await session.send_client_content(turns=said, turn_complete=True)
            messages = [message async for message in session.receive()]
            text = "".join(message.text or "" for message in messages)
            heard.append((text, messages[-1].usage_metadata))
    return heard


if TLS_URL:

    @check
    def live_over_a_socket():
        heard = asyncio.run(turns(2))
        assert len(heard) == 2 and all(text for text, _ in heard), heard
        assert heard[-1][1].total_token_count == 16, heard[-1]
