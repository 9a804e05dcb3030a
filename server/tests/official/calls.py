"""Has the official Python clients, as they are, call tools of a model that writes calls.

Usage: python calls.py http://127.0.0.1:PORT EXPECTED, which is JSON.
"""

import json
import sys

import anthropic
import openai

site, expected = sys.argv[1], json.loads(sys.argv[2])
chat = openai.OpenAI(base_url=f"{site}/v1", api_key="none", max_retries=0)
claude = anthropic.Anthropic(base_url=site, api_key="none", max_retries=0)
schema = {"type": "object", "properties": {"city": {"type": "string"}}}
question = {"role": "user", "content": "How warm is it?"}
wanted = list(zip(expected["names"], expected["arguments"]))
result = expected["result"]


def bias(text):
    return {str(expected["starts"][text]): expected["bias"]}


def extra(text):
    return {"temperature": 0, "seed": 7, "logit_bias": bias(text)}


# OpenAI's chats.
tools = [{"type": "function", "function": {"name": name, "parameters": schema}} for name in expected["names"]]
asked = {"model": "demo", "tools": tools, "temperature": 0, "seed": 7}
first = {**asked, "messages": [question], "logit_bias": bias(0)}
message = chat.chat.completions.create(**first).choices[0].message
calls = [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls]
assert calls == wanted and (message.content or "") == expected["said"]
with chat.chat.completions.stream(**first) as stream:
    streamed = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
    final = stream.get_final_completion().choices[0]
assert final.finish_reason == "tool_calls"
assert [(event.name, json.loads(event.arguments)) for event in streamed] == wanted
assert [call.id for call in final.message.tool_calls] == [call.id for call in message.tool_calls]
given = [{"role": "tool", "tool_call_id": call.id, "content": result} for call in message.tool_calls]
messages = [question, message.model_dump(exclude_none=True), *given]
answer = chat.chat.completions.create(**asked, messages=messages, logit_bias=bias(1)).choices[0]
assert answer.message.content == expected["answer"] and not answer.message.tool_calls

# OpenAI's responses.
tools = [{"type": "function", "name": name, "parameters": schema, "strict": False} for name in expected["names"]]
asked = {"model": "demo", "tools": tools}
first = {**asked, "input": [question], "extra_body": extra(0)}
response = chat.responses.create(**first)
made = [item for item in response.output if item.type == "function_call"]
assert [(item.name, json.loads(item.arguments)) for item in made] == wanted
assert response.output_text == expected["said"]
with chat.responses.stream(**first) as stream:
    streamed = [event for event in stream if event.type == "response.function_call_arguments.done"]
    final = stream.get_final_response()
assert [json.loads(event.arguments) for event in streamed] == expected["arguments"]
assert [item.call_id for item in final.output if item.type == "function_call"] == [item.call_id for item in made]
given = [{"type": "function_call_output", "call_id": item.call_id, "output": result} for item in made]
follow = [question, *response.output, *given]
answer = chat.responses.create(**asked, input=follow, extra_body=extra(1))
assert answer.output_text == expected["answer"]

# Anthropic's messages.
tools = [{"name": name, "input_schema": schema} for name in expected["names"]]
asked = {"model": "demo", "max_tokens": 500, "tools": tools}
first = {**asked, "messages": [question], "extra_body": extra(0)}
message = claude.messages.create(**first)
uses = [block for block in message.content if block.type == "tool_use"]
assert [(block.name, block.input) for block in uses] == wanted and message.stop_reason == "tool_use"
with claude.messages.stream(**first) as stream:
    assert "".join(stream.text_stream) == expected["said"]
    final = stream.get_final_message()
assert [(block.name, block.input) for block in final.content if block.type == "tool_use"] == wanted
given = [{"type": "tool_result", "tool_use_id": block.id, "content": result} for block in uses]
messages = [question, {"role": "assistant", "content": message.content}, {"role": "user", "content": given}]
answer = claude.messages.create(**asked, messages=messages, extra_body=extra(1))
assert answer.content[0].text == expected["answer"] and answer.stop_reason == "end_turn"
print("all is well")
