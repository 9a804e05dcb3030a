"""Asks a server with the demo model through the official Python clients, as they are.

Usage: python clients.py http://127.0.0.1:PORT KEY
"""

import sys

import anthropic
import openai

site, key = sys.argv[1:]
chat = openai.OpenAI(base_url=f"{site}/v1", api_key=key, max_retries=0)
claude = anthropic.Anthropic(base_url=site, api_key=key, max_retries=0)
question = [{"role": "user", "content": "Who is there?"}]
asked = {"model": "demo", "messages": question, "temperature": 0}
# Anthropic's client has no argument for it any more.
told = {"model": "demo", "messages": question, "extra_body": {"temperature": 0}}
tool = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def raises(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


# OpenAI: chats, whole and streamed, with logprobs.
assert [model.id for model in chat.models.list()] == ["demo", "gpt"]
whole = chat.chat.completions.create(**asked, max_tokens=12, logprobs=True, top_logprobs=2)
said = whole.choices[0].message.content
assert said and whole.choices[0].finish_reason == "length"
assert len(whole.choices[0].logprobs.content) == 12
assert whole.usage.completion_tokens == 12 and whole.system_fingerprint.startswith("fp_")
# The client takes an answer that was cut off for no answer; this one ends at a stop text.
ended = {**asked, "max_tokens": 12, "stop": said[8:10]}
with chat.chat.completions.stream(**ended, stream_options={"include_usage": True}) as stream:
    deltas = "".join(event.delta for event in stream if event.type == "content.delta")
    final = stream.get_final_completion()
assert deltas == final.choices[0].message.content == said[:said.index(said[8:10])]
assert final.choices[0].finish_reason == "stop" and final.usage.completion_tokens <= 12
text = chat.completions.create(model="demo", prompt="ROMEO:\nWhat light", max_tokens=8, temperature=0)
assert text.choices[0].text == "s are this, that is not so"

# Responses, whole and streamed.
answer = chat.responses.create(model="demo", input="Who is there?", temperature=0, max_output_tokens=12)
assert answer.output_text == said and answer.status == "incomplete"
assert answer.usage.output_tokens == 12 and answer.usage.output_tokens_details.reasoning_tokens == 0
with chat.responses.stream(model="demo", input=question, temperature=0, max_output_tokens=12) as stream:
    deltas = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
assert deltas == said
events = list(chat.responses.create(model="demo", input=question, temperature=0, max_output_tokens=12, stream=True))
assert events[0].type == "response.created" and events[-1].type == "response.incomplete"
assert events[-1].response.output_text == said
follow = chat.responses.create(
    model="demo", input=[*question, *answer.output, {"role": "user", "content": "Why?"}], max_output_tokens=4
)
assert follow.usage.input_tokens > answer.usage.input_tokens

# Anthropic: messages, whole and streamed, and counts.
message = claude.messages.create(**told, max_tokens=12)
assert message.content[0].text == said and message.stop_reason == "max_tokens"
assert message.usage.input_tokens + message.usage.cache_read_input_tokens == whole.usage.prompt_tokens
assert message._request_id
with claude.messages.stream(**told, max_tokens=12) as stream:
    assert "".join(stream.text_stream) == said
    final = stream.get_final_message()
assert final.usage.output_tokens == 12 and final.content[0].text == said
stopped = claude.messages.create(**told, max_tokens=12, stop_sequences=[said[4:7]])
assert stopped.stop_reason == "stop_sequence" and stopped.stop_sequence == said[4:7]
counted = claude.messages.count_tokens(model="demo", messages=question, system="Be brief.")
assert counted.input_tokens > whole.usage.prompt_tokens
assert claude.models.list().data[0].id == "demo"

# Errors are the exceptions of their clients.
error = raises(openai.BadRequestError, lambda: chat.chat.completions.create(**asked, n=0))
assert error.param == "n" and error.request_id
error = raises(openai.NotFoundError, lambda: chat.chat.completions.create(**{**asked, "model": "gpt-9"}))
assert error.code == "model_not_found"
error = raises(openai.BadRequestError, lambda: chat.responses.create(model="demo", input="x", previous_response_id="r"))
assert error.param == "previous_response_id"
wrong = openai.OpenAI(base_url=f"{site}/v1", api_key="wrong", max_retries=0)
raises(openai.AuthenticationError, wrong.models.list)
wrong = anthropic.Anthropic(base_url=site, api_key="wrong", max_retries=0)
error = raises(anthropic.AuthenticationError, wrong.models.list)
assert error.type == "authentication_error"
error = raises(anthropic.NotFoundError, lambda: claude.messages.create(**{**told, "model": "claude"}, max_tokens=1))
assert error.type == "not_found_error" and error.request_id
image = [{"type": "image", "source": {"type": "url", "url": "https://example.com/i.png"}}]
image = [{"role": "user", "content": image}]
error = raises(anthropic.BadRequestError, lambda: claude.messages.create(model="demo", max_tokens=1, messages=image))
assert "image" in error.message
# The template of this server has no place for tools: none are left out in silence.
function = {"type": "function", "function": {"name": "weather", "parameters": tool}}
error = raises(openai.BadRequestError, lambda: chat.chat.completions.create(**asked, tools=[function]))
assert error.param == "tools"
tools = [{"name": "weather", "input_schema": tool}]
raises(anthropic.BadRequestError, lambda: claude.messages.create(**told, max_tokens=1, tools=tools))
print("all is well")
