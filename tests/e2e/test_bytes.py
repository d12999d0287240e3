"""What the provider receives is what the client wrote, but for the model's id."""

import json
import random

import pytest
from mitm import Routing, ask, assert_as_provider_wants

IDS = {"under-pace": b"claude-sonnet-4-5", "over-pace": b"claude-sonnet-4.5"}
LARGE = "".join(
    random.Random(2).choices('abc é\u4e16\U0001f600"\\/\n\t', k=1_200_000)  # over 2 MB as UTF-8
)
BODIES = {
    "odd whitespace": b'\r\n { "max_tokens"\t:\n50 ,"messages":[ {"role":"user" , "content":"hi"}],\r\n'
    b'  "model" : "@"\t}\n ',
    "odd order": b'{"messages":[{"content":[{"text":"hi","type":"text"}],"role":"user"}],'
    b'"max_tokens":50,"stream":false,"model":"@","temperature":1.0e+0}',
    "escapes": rb'{"max_tokens":50,"model":"@","messages":[{"role":"user","content":"\u0041\/\u00e9'
    rb'\ud83d\ude00 \"model\":\"claude-sonnet-4-5\" \t\b"}]}',
    "unicode": '{"model":"@","max_tokens":50,"system":"Grüße, 世界 \U0001f600\u2028","messages":'
    '[{"role":"user","content":"\u0085é e\u0301"}]}'.encode(),
    "models inside": b'{"tools":[{"name":"model","input_schema":{"type":"object","properties":'
    b'{"model":{"enum":["claude-sonnet-4-5"]}}}}],"model":"@","max_tokens":50,'
    b'"messages":[{"role":"user","content":"{\\"model\\":\\"@\\"}"}]}',
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("scenario", IDS)
def test_every_byte_but_the_model_arrives(shared, scenario, name):
    routing: Routing = shared(scenario)
    before, after = BODIES[name].split(b'"@"', 1)
    for spelled in (b'"claude-sonnet-4-5"', b'"limit-router/claude-sonnet-4-5"'):
        routing.forget()
        with routing.client() as client:
            answer = ask(client, content=before + spelled + after)
        recorded = routing.served_one()
        assert answer.status_code == 200
        assert recorded.body == before + b'"' + IDS[scenario] + b'"' + after
        assert_as_provider_wants(recorded, routing.sim)


@pytest.mark.parametrize("scenario", IDS)
def test_escapes_in_the_model_itself(shared, scenario):
    routing: Routing = shared(scenario)
    start = rb'{"max_tokens":50,"messages":[{"role":"user","content":"hi"}],"\u006dodel" : '
    with routing.client() as client:
        ask(client, content=start + rb'"limit-router\/claude\u002dsonnet-4-5"  }')
    assert routing.served_one().body == start + b'"' + IDS[scenario] + b'"  }'


@pytest.mark.parametrize("scenario", IDS)
def test_two_megabytes(shared, scenario):
    routing: Routing = shared(scenario)
    text = json.dumps(LARGE, ensure_ascii=False)
    start, end = '{"max_tokens":50,"messages":[{"role":"user","content":', '}],"model":'
    body = f'{start}{text}{end}"claude-sonnet-4-5"}}'.encode()
    assert len(body) > 2_000_000
    with routing.client() as client:
        answer = ask(client, content=body)
    assert answer.status_code == 200
    expected = f'{start}{text}{end}"{IDS[scenario].decode()}"}}'.encode()
    assert routing.served_one().body == expected
