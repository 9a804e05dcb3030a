"""Asks a server with the demo model for answers in a form, through the official Python clients, and
holds what is drawn against its schema.

Usage: python forms.py http://127.0.0.1:PORT KEY
"""

import json
import sys
from typing import Literal, Optional, Union

import anthropic
import jsonschema
import openai
from pydantic import BaseModel, Field

site, key = sys.argv[1:]
chat = openai.OpenAI(base_url=f"{site}/v1", api_key=key, max_retries=0)
claude = anthropic.Anthropic(base_url=site, api_key=key, max_retries=0)
question = [{"role": "user", "content": "Who?"}]


class Kin(BaseModel):
    name: str = Field(max_length=12)
    house: Literal["Montague", "Capulet"]
    age: int = Field(ge=0, le=120)
    spouse: Optional[bool]


class Own(BaseModel):
    """What the limits of texts, which Anthropic's client takes out of schemas, do not matter to."""

    house: Literal["Montague", "Capulet"]
    spouse: Optional[bool]


class Scene(BaseModel):
    kin: list[Kin] = Field(min_length=1, max_length=2)
    place: Union[Literal["Verona"], None]


limits = {"max_tokens": 300}
for seed in range(6):
    whole = chat.chat.completions.parse(
        model="demo", messages=question, response_format=Kin, seed=seed, **limits
    )
    kin = whole.choices[0].message.parsed
    assert isinstance(kin, Kin) and 0 <= kin.age <= 120, whole
    answer = chat.responses.parse(
        model="demo", input=question, text_format=Kin, max_output_tokens=300, extra_body={"seed": seed}
    )
    assert answer.output_parsed == kin, (answer.output_parsed, kin)
    with chat.chat.completions.stream(
        model="demo", messages=question, response_format=Kin, seed=seed, **limits
    ) as stream:
        for event in stream:
            pass
        assert stream.get_final_completion().choices[0].message.parsed == kin
    with chat.responses.stream(
        model="demo", input=question, text_format=Kin, max_output_tokens=300, extra_body={"seed": seed}
    ) as stream:
        for event in stream:
            pass
        assert stream.get_final_response().output_parsed == kin
    message = claude.messages.parse(
        model="demo", messages=question, max_tokens=300, output_format=Own, extra_body={"seed": seed}
    )
    assert isinstance(message.parsed_output, Own), message
whole = chat.chat.completions.parse(
    model="demo", messages=question, response_format=Scene, seed=1, temperature=0, max_tokens=400
)
assert isinstance(whole.choices[0].message.parsed, Scene)


# Errors have the field's name.
try:
    schema = {"name": "s", "schema": {"type": "object", "not": {}}}
    chat.chat.completions.create(
        model="demo", messages=question, response_format={"type": "json_schema", "json_schema": schema}
    )
    raise AssertionError("no error")
except openai.BadRequestError as error:
    assert error.param == "response_format.json_schema.schema" and "`not`" in error.message

# Whatever the weights are, what is drawn follows its schema.
text = {"type": "string", "maxLength": 12}
tree = {
    "type": "object",
    "properties": {"value": {"type": "integer", "minimum": -5, "maximum": 5}, "of": {"type": "array", "maxItems": 2, "items": {"$ref": "#/$defs/tree"}}},
    "required": ["value", "of"],
    "additionalProperties": False,
}
schemas = [
    {"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {"type": "object", "properties": {"c": text}, "required": ["c"], "additionalProperties": False}}, "required": ["b"], "additionalProperties": False}}, "required": ["a"], "additionalProperties": False},
    {"enum": ["é😀", "\u0001\n\"\\", None, 4.5, -1, ["x", {"y": 1}], {"z": []}]},
    {"type": "array", "items": {"type": "integer", "minimum": 3, "maximum": 1200}, "minItems": 2, "maxItems": 5},
    {"anyOf": [{"type": "string", "maxLength": 4}, {"type": "number", "exclusiveMinimum": -1.5, "exclusiveMaximum": 2.25}, {"type": "null"}]},
    {"oneOf": [{"type": "object", "properties": {"kind": {"const": "a"}, "x": {"type": "integer", "minimum": 0, "maximum": 99}}, "required": ["kind", "x"], "additionalProperties": False}, {"type": "object", "properties": {"kind": {"const": "b"}, "y": {"type": "boolean"}}, "required": ["kind"], "additionalProperties": False}]},
    {"type": "string", "pattern": "^[A-Z]{2}-\\d{3,5}(x|yz)?$"},
    {"type": "object", "properties": {"date": {"type": "string", "format": "date"}, "id": {"type": "string", "format": "uuid"}, "mail": {"type": "string", "format": "ipv4"}}, "required": ["date", "id", "mail"], "additionalProperties": False},
    {"type": "string", "minLength": 3, "maxLength": 6},
    {"$ref": "#/$defs/tree", "$defs": {"tree": tree}},
    {"type": "array", "prefixItems": [{"type": "boolean"}, {"type": "null"}, {"enum": [1, 2]}], "items": False, "minItems": 2},
    {"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 700},
    {"type": "object", "properties": {"k": {"type": "boolean"}}, "patternProperties": {"^x[0-9]$": {"type": "integer", "minimum": 0, "maximum": 9}}, "additionalProperties": False, "required": ["k"], "maxProperties": 3},
    {"allOf": [{"type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 50}}, "required": ["a"]}, {"type": "object", "properties": {"a": {"type": "integer", "maximum": 30}, "b": {"const": "q"}}, "required": ["b"], "additionalProperties": False}], "unused": None} ,
]
schemas[-1].pop("unused")
whole = cut = 0
for number, schema in enumerate(schemas):
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    answers = chat.completions.create(
        model="demo", prompt="ROMEO:", max_tokens=400, temperature=4.0, n=30, seed=100 * number, extra_body={"guided_json": schema}
    )
    for choice in answers.choices:
        if choice.finish_reason == "length":
            cut += 1
            continue
        value = json.loads(choice.text)
        problems = [error.message for error in validator.iter_errors(value)]
        assert not problems, (schema, choice.text, problems)
        whole += 1
assert whole > 5 * cut, (whole, cut)
print(f"all is well: {whole} are whole, {cut} were cut off")
